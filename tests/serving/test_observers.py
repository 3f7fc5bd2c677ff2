"""Who is told, for which settings."""

import io
import sys
from pathlib import Path

import pytest

from serving.access_log import AccessLog
from serving.metrics import Metrics
from serving.observers import ObserverError, check_observers, observers_of
from serving.settings import Settings
from serving.telemetry import Telemetry


class StandardOutput(io.StringIO):
    """Standard output that is a file."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()


def test_by_default_nobody_is() -> None:
    assert observers_of(Settings(), Metrics()) == ()


def test_telemetry_goes_first_so_that_the_log_can_name_the_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    with (tmp_path / "log").open("wb") as file:
        monkeypatch.setattr(sys, "stdout", StandardOutput(file))
        metrics = Metrics()
        found = observers_of(Settings(telemetry=True, access_log="text"), metrics)
        assert [type(observer) for observer in found] == [Telemetry, AccessLog]
        metrics.dropped_lines(3)
        assert b"sameway_access_log_dropped_total 3.0\n" in metrics.exposition()
        for observer in found:
            observer.close()


@pytest.mark.parametrize("name", ["OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"])
def test_what_the_environment_cannot_have_is_known_before_any_worker_begins(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(ObserverError, match=f"{name}: expected"):
        check_observers(Settings(telemetry=True))


def test_a_log_without_an_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ObserverError, match="there is no standard output"):
        observers_of(Settings(access_log="json"), Metrics())
