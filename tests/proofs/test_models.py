from pathlib import Path

import numpy as np
import orjson

from proofs import models
from serving.backends.onnx import OnnxBackend


def test_the_model_echoes_its_rows_whatever_work_they_ask_for(tmp_path: Path) -> None:
    version = models.publish(tmp_path, batch_rows=4, queue_rows=16)
    session = OnnxBackend().open(version.path / "model.onnx", version.manifest.signature, device="cpu", threads=1)
    rows = np.array([[2, 1], [3, 2**20], [1, 7]], np.float32)
    assert np.array_equal(session.run({"x": rows})["y"], rows)
    session.close()


def test_a_unit_of_work_takes_time(tmp_path: Path) -> None:
    seconds = models.unit_seconds(models.publish(tmp_path, batch_rows=4, queue_rows=16))
    assert 1e-7 < seconds < 1e-2


def test_a_request_knows_its_answer() -> None:
    asked = models.request("test", units=3, name=9, timeout_seconds=0.25)
    assert orjson.loads(asked.message.split(b"\r\n\r\n")[1])["parameters"] == {"timeout": 250_000}
    assert asked.right(b'{"outputs":[{"name":"y","data":[3.0,9.0]}]}')
    assert not asked.right(b'{"outputs":[{"name":"y","data":[3.0,8.0]}]}')
