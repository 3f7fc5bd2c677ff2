import subprocess
import sys
from pathlib import Path

import pytest

from serving.backends.base import BACKENDS, BackendError, backend_for, reason_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("format", ["tensorrt", "", "ONNX", "onnx ", "../onnx"])
def test_an_unknown_format_is_refused_with_those_there_are(format: str) -> None:
    with pytest.raises(BackendError, match="expected one of onnx, exported_program, onnx_int8, onnx_fp16"):
        backend_for(format)


def test_a_missing_runtime_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "torchscript", ("serving.backends.no_such_file", "Nothing", "torch"))
    with pytest.raises(BackendError, match=r"pip install 'sameway\[torch\]'"):
        backend_for("torchscript")


def test_serving_onnx_imports_no_torch() -> None:
    program = "import sys; from serving.backends.base import backend_for; backend_for('onnx'); print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"


def test_a_reason_is_one_line_without_the_folders_of_this_machine() -> None:
    artifact = Path("/srv/secret/model.onnx")
    assert reason_of(RuntimeError(f"cannot read {artifact}: bad\n#0 0x7f…"), artifact) == "cannot read model.onnx: bad"


@pytest.mark.parametrize("error", [RuntimeError(), MemoryError(), RuntimeError("")])
def test_an_error_without_words_is_named_by_its_class(error: Exception) -> None:
    assert reason_of(error, Path("model.onnx")) == type(error).__name__
