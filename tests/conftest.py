"""What all tests share: no property fails because the machine is busy, and torch's exporter builds its tables once."""

import sys
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from models import quiet  # noqa: F401 - before any test imports ONNX Runtime

settings.register_profile("sameway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sameway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the pages of the docs, which take longest.

    Of several processes one is given all of them, so that what they share is made once; and what is left at the end, for
    whichever process has nothing to do, is small.
    """
    items.sort(key=lambda item: item.path.name != "test_docs.py")


def pytest_runtest_setup() -> None:
    """Let torch's exporter build its table of operators once in a process: for a small module that takes most of the time.

    Each export has a table of its own nevertheless, a copy.
    """
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is None or hasattr(registration, "built_once"):
        return
    registry: Any = registration.ONNXRegistry
    registration.built_once = built_once = cache(registry.from_torchlib)  # type: ignore[attr-defined]

    def from_torchlib(opset_version: int) -> Any:  # Any: torch's own, which it shows nobody
        built, copy = built_once(opset_version), registry()
        copy._opset_version = opset_version
        copy.functions = {target: list(found) for target, found in built.functions.items()}
        return copy

    registry.from_torchlib = staticmethod(from_torchlib)
