"""This server beside others around the same ONNX file: what each carries, and what a request costs."""
