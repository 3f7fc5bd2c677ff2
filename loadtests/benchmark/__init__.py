"""This server beside others around the same ONNX file: what each carries, and what a request costs."""

from models import quiet  # noqa: F401 - before any module here imports ONNX Runtime
