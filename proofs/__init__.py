"""Programs that prove what docs/reliability.md promises, at full length, against the real server in a process of its own."""

from models import quiet  # noqa: F401 - before any module here imports ONNX Runtime
