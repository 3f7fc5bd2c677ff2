"""Serving: published versions behind HTTP. It sees manifests and artifacts, never model source code.

    command → frontends → protocols → engine → backends

Front ends move bytes, protocols give them meaning, the engine batches and answers, backends run artifacts.
"""

from models import quiet  # noqa: F401 - before any module here imports ONNX Runtime
