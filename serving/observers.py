"""Who is told of every request that has ended: what the settings ask for, and nothing imported for what is off."""

import importlib.metadata
import os
import sys

from serving.access_log import AccessLog
from serving.gpu import GpuCollector, find_nvml
from serving.line_writer import LineWriter
from serving.metrics import Metrics
from serving.protocols.ending import Observer
from serving.settings import Settings


class ObserverError(Exception):
    """What is asked for cannot be done with what is installed, or with what the environment says."""


def check_observers(settings: Settings) -> None:
    """Raise ObserverError where `observers_of` would for what is installed, open, or in the environment; begin nothing."""
    if settings.telemetry:
        try:
            from serving.telemetry import TelemetryError, check_environment
        except ModuleNotFoundError as missing:
            raise ObserverError(f"telemetry needs the package {missing.name!r}: pip install 'sameway[otel]'") from missing
        try:
            check_environment(os.environ)
        except TelemetryError as error:
            raise ObserverError(str(error)) from error
    if settings.access_log != "off" and sys.stdout is None:  # closed by whoever started the process
        raise ObserverError("access_log: there is no standard output")


def observers_of(settings: Settings, metrics: Metrics) -> tuple[Observer, ...]:
    """Return the observers of one process, running; /metrics tells of them, and of the GPUs. Raise ObserverError."""
    observers: list[Observer] = []
    check_observers(settings)
    if settings.telemetry:
        from serving.telemetry import from_environment

        observers.append(from_environment(os.environ, version=importlib.metadata.version("sameway")))
    # After it: telemetry finds the trace that the line names.
    if settings.access_log != "off":
        writer = LineWriter(sys.stdout.fileno(), dropped=metrics.dropped_lines)
        observers.append(AccessLog(settings.access_log, sample=settings.access_log_sample, writer=writer))
    if (nvml := find_nvml()) is not None:
        metrics.registry.register(GpuCollector(nvml))
    return tuple(observers)
