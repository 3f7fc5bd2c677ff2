"""What all tests share: property tests do not fail because the machine is busy."""

from hypothesis import HealthCheck, settings

from models import quiet  # noqa: F401 - before any test imports ONNX Runtime

settings.register_profile("sameway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sameway")
