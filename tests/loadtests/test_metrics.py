"""The server's metrics as a load test reads them."""

import pytest

from loadtests.calibration import calibrate, drift
from loadtests.metrics import Reading, Readings, parse, watching
from loadtests.server import Server
from tests.loadtests.faulty import faulty

TEXT = """\
# TYPE sameway_batch_rows histogram
sameway_batch_rows_bucket{{model="toy",version="1",le="1.0"}} {one}
sameway_batch_rows_bucket{{model="toy",version="1",le="4.0"}} {four}
sameway_batch_rows_bucket{{model="toy",version="1",le="+Inf"}} {four}
sameway_batch_rows_count{{model="toy",version="1"}} {four}
sameway_batch_rows_sum{{model="toy",version="1"}} {rows}
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {cpu}
# TYPE sameway_queue_rows gauge
sameway_queue_rows{{model="toy",version="1"}} 3.0
# TYPE sameway_model_info gauge
sameway_model_info{{model="toy",version="1",format="onnx",digest="abc",verified="true"}} 1.0
"""


def readings() -> Readings:
    before = parse(TEXT.format(one=10, four=20, rows=60, cpu=5.0))
    after = parse(TEXT.format(one=15, four=40, rows=120, cpu=15.0))
    return Readings([Reading(100.0, before), Reading(105.0, before), Reading(110.0, after)])


def test_figures_are_differences_of_readings() -> None:
    told = readings().to_json(["toy"], 101.0, 110.0)
    toy = told["models"]["toy"]
    assert told["cores"] == pytest.approx(1.0)
    assert toy["batches"] == 20
    assert toy["mean_rows"] == 3
    assert toy["batch_rows"] == {"1": 5, "4": 15}
    assert toy["info"][0]["digest"] == "abc"
    assert told["queue"] == [[4.0, 3.0], [9.0, 3.0]]


def test_a_server_without_metrics_is_no_error() -> None:
    with faulty("right") as server, watching(Server(server.url)) as found:
        pass
    assert found.to_json(["double"], 0.0, 1.0) == {"missing": "/metrics: status 404"}


def test_the_calibration_takes_some_time_and_drift_is_a_share() -> None:
    speed = calibrate(pieces=3)
    assert 0 < speed.best <= speed.milliseconds <= speed.worst
    assert drift([4.0, 5.0, 4.5]) == pytest.approx(0.25)
    assert drift([4.0]) == 0
