"""The model repository, and the rules of its format.

The files directly in here (`tensors`, `content`, `manifest`, `repository`, `spec`) are what training, export, serving and
load tests agree on; they need only the standard library and numpy. Each folder in here is one model.
"""
