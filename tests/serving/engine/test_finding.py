"""Which configuration counts, and what a version's folder is taken for."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from models.repository import Repository, RepositoryError
from models.tensors import TensorSpec
from serving.backends.base import BackendError
from serving.backends.onnx import OnnxBackend
from serving.engine.finding import UnverifiedPolicy, config_of, open_version
from serving.engine.servable import Servable
from serving.model_config import ConfigError, ModelConfig, VersionPolicy
from tests import toys
from tests.serving import strangers
from tests.serving.strangers import FLOAT, model, node

ROOT = Path(__file__).parents[3]
REFUSALS = (RepositoryError, ConfigError, BackendError)


def found(root: Path, name: str = "net", policy: UnverifiedPolicy | None = None) -> tuple[Servable, ModelConfig]:
    return open_version(Repository(root), name, 1, policy or UnverifiedPolicy())


def configure(root: Path, text: str, name: str = "net") -> None:
    (root / name / "config.toml").write_text(text, encoding="utf-8")


def test_a_published_version_is_what_its_manifest_says(tmp_path: Path) -> None:
    version = toys.publish(tmp_path, "net")
    servable, config = found(tmp_path)
    assert (servable.verified, servable.batching, servable.remark) == (True, "manifest", "")
    assert (servable.digest, servable.signature) == (version.digest, version.manifest.signature)
    assert servable.golden is not None
    assert (config, servable.chosen) == (ModelConfig(format="onnx"), "only")


def test_a_found_file_is_served_unverified_under_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = strangers.put(tmp_path, "net", strangers.double())
    servable, _ = found(tmp_path)
    assert (servable.model, servable.version, servable.verified) == ("net", 1, False)
    assert servable.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert servable.artifacts["onnx"].file.read_bytes() == path.read_bytes()
    assert (servable.golden, servable.content) == (None, None)
    assert servable.remark == "unverified: no manifest, replay: none; batching: probed, 32 rows"
    assert servable.signature.inputs == (TensorSpec("x", "FP32", (3,)),)


def test_what_is_opened_is_what_was_checksummed_whatever_happens_to_the_file(tmp_path: Path) -> None:
    path = strangers.put(tmp_path, "net", strangers.double())
    before = path.read_bytes()
    servable, _ = found(tmp_path)
    path.write_bytes(b"another")
    assert servable.artifacts["onnx"].file.read_bytes() == before


@pytest.mark.parametrize(
    ("toml", "pbtxt", "rows", "batching"),
    [
        (None, None, 32, "probed"),
        ("max_batch_size = 5", None, 5, "configured"),
        ("max_batch_size = 0", None, 0, "alone"),
        (None, "max_batch_size: 6", 6, "configured"),
        (None, "max_batch_size: 0", 0, "alone"),
        (None, 'platform: "onnxruntime_onnx"', 32, "probed"),
        ("max_batch_size = 5", "max_batch_size: 6", 5, "configured"),
        ("threads = 1", "max_batch_size: 6", 6, "configured"),
    ],
)
def test_the_largest_batch_is_the_one_stated_or_else_the_one_probed(
    tmp_path: Path, toml: str | None, pbtxt: str | None, rows: int, batching: str
) -> None:
    strangers.put(tmp_path, "net", strangers.double(), config=pbtxt)
    if toml is not None:
        configure(tmp_path, toml)
    servable, _ = found(tmp_path)
    assert (servable.signature.max_batch_size, servable.batching) == (rows, batching)


def test_what_is_stated_is_believed_even_of_a_model_that_mixes_its_rows(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.add_total())
    assert found(tmp_path)[0].signature.max_batch_size == 0
    configure(tmp_path, "max_batch_size = 4")
    assert found(tmp_path)[0].signature.max_batch_size == 4


def test_the_reason_for_running_alone_is_said(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.add_total())
    strangers.put(tmp_path, "steps", strangers.recurrent())
    assert "alone, output 'y' of a row is another among 7 rows than alone" in found(tmp_path)[0].remark
    assert "alone, 'state' has the shape [2, -1, 3]" in found(tmp_path, "steps")[0].remark


def test_config_toml_is_the_policy_where_both_are_there(tmp_path: Path) -> None:
    pbtxt = "max_batch_size: 6 instance_group { count: 3 } version_policy { all { } } optimization { }"
    strangers.put(tmp_path, "net", strangers.double(), config=pbtxt)
    alone = config_of(Repository(tmp_path), "net")
    assert (alone.instances, alone.versions) == (3, VersionPolicy(latest=None))
    configure(tmp_path, "threads = 2")
    assert config_of(Repository(tmp_path), "net") == ModelConfig(threads=2, max_batch_size=6)


def test_a_limit_of_requests_becomes_one_of_rows(tmp_path: Path) -> None:
    pbtxt = "dynamic_batching { default_queue_policy { max_queue_size: 3 } }"
    strangers.put(tmp_path, "net", strangers.double(), config=pbtxt)
    assert found(tmp_path)[1].queue_rows == 96
    strangers.put(tmp_path, "total", strangers.add_total(), config=pbtxt)
    assert found(tmp_path, "total")[1].queue_rows == 3


def test_dims_may_fix_a_length_that_the_file_leaves_free(tmp_path: Path) -> None:
    pbtxt = 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 7 ] }'
    strangers.put(tmp_path, "net", strangers.double(("N", "W")), config=pbtxt)
    assert found(tmp_path)[0].signature.inputs == (TensorSpec("x", "FP32", (7,)),)


X = 'input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }'
REFUSED = {
    "another input": ("max_batch_size: 4 " + X.replace('"x"', '"z"'), "config.pbtxt: input: expected some of x, found 'z'"),
    "another datatype": ("max_batch_size: 4 " + X.replace("FP32", "INT8"), "x: expected datatype FP32, found INT8"),
    "another length": (
        "max_batch_size: 4 " + X.replace("[ 3", "[ 4"),
        "expected dims within the model's shape [-1, 3], found [-1, 4]",
    ),
    "dims without a batch axis": (X, "expected dims within the model's shape [-1, 3], found [3]"),
    "not a file's name": ('default_model_filename: "../net/1/model.onnx"', "expected a plain file name"),
    "a file that is not there": ('default_model_filename: "other.onnx"', "other.onnx: No such file or directory"),
    "a file of some kind": ('default_model_filename: "other"', "expected manifest.json or one of model.onnx, model.pt"),
    "another backend": ('platform: "tensorrt_plan"', "found 'tensorrt_plan'"),
    "syntax": ("max_batch_size 4", "config.pbtxt:1:16: expected ':' or '{'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_configuration_that_is_not_of_this_file_is_refused(tmp_path: Path, case: str) -> None:
    config, why = REFUSED[case]
    strangers.put(tmp_path, "net", strangers.double(), config=config)
    with pytest.raises(REFUSALS) as error:
        found(tmp_path)
    assert why in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_a_stated_batch_needs_an_axis_for_it(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.recurrent())
    configure(tmp_path, "max_batch_size = 4")
    with pytest.raises(
        ConfigError, match=r"model\.onnx: max_batch_size: expected 0, for 'state' has the shape \[2, -1, 3\]"
    ):
        found(tmp_path)


@pytest.mark.parametrize("file", ["toml", "pbtxt"])
def test_a_manifest_is_not_to_be_contradicted(tmp_path: Path, file: str) -> None:
    toys.publish(tmp_path, "net")
    for rows, fine in ((8, True), (9, False), (0, False)):
        text = f"max_batch_size = {rows}" if file == "toml" else f"max_batch_size: {rows}"
        (tmp_path / "net" / f"config.{file}").write_text(text)
        if fine:
            assert found(tmp_path)[0].signature.max_batch_size == rows
            continue
        with pytest.raises(ConfigError, match=f"max_batch_size: expected 8, as the manifest says, or none, found {rows}"):
            found(tmp_path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
        dangling,
        lambda path: path.unlink(),
    ],
    ids=["no JSON", "empty", "a folder", "a link", "gone"],
)
def test_a_published_version_whose_manifest_is_damaged_is_no_found_one(tmp_path: Path, damage: object) -> None:
    version = toys.publish(tmp_path, "net")
    damage(version.path / "manifest.json")  # type: ignore[operator]
    with pytest.raises(RepositoryError, match=r"manifest\.json"):
        found(tmp_path)


def test_nothing_is_found_where_a_manifest_is_required(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.double())
    with pytest.raises(RepositoryError, match=r"net/1: manifest\.json: No such file or directory; without one nothing"):
        found(tmp_path, policy=UnverifiedPolicy(require_manifest=True))
    toys.publish(tmp_path, "toy")
    assert found(tmp_path, "toy", UnverifiedPolicy(require_manifest=True))[0].verified


def test_torchscript_is_not_even_read_without_consent(tmp_path: Path) -> None:
    path = strangers.put(tmp_path, "net", b"", file="model.pt")
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(RepositoryError, match="--trust-torchscript"):
        found(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.pbtxt: expected the inputs and outputs"):
        found(tmp_path, policy=UnverifiedPolicy(torchscript=True))


def test_an_exported_program_without_a_manifest_is_not_even_read(tmp_path: Path) -> None:
    path = strangers.put(tmp_path, "net", b"", file="model.pt2")
    path.unlink()
    path.symlink_to("/dev/zero")
    for policy in (UnverifiedPolicy(), UnverifiedPolicy(torchscript=True)):
        with pytest.raises(RepositoryError, match=r"net/1: model\.pt2: an exported program is opened only where a manifest"):
            found(tmp_path, policy=policy)
    path.with_name("model.onnx").write_bytes(strangers.double().SerializeToString())
    assert list(found(tmp_path)[0].artifacts) == ["onnx"]
    configure(tmp_path, 'format = "exported_program"')
    with pytest.raises(RepositoryError, match="publish it with sameway export"):
        found(tmp_path)


def test_torchscript_without_a_stated_batch_runs_alone(tmp_path: Path) -> None:
    tensors = (
        'input { name: "a" data_type: TYPE_FP32 dims: [ -1, 2 ] } output { name: "b" data_type: TYPE_FP32 dims: [ -1, 2 ] }'
    )
    strangers.put(tmp_path, "net", b"opened by somebody else", file="model.pt", config=tensors)
    servable, _ = found(tmp_path, policy=UnverifiedPolicy(torchscript=True))
    assert (servable.signature.max_batch_size, servable.batching) == (0, "alone")
    assert servable.signature.inputs == (TensorSpec("a", "FP32", (None, 2)),)
    configure(tmp_path, "max_batch_size = 3")
    assert found(tmp_path, policy=UnverifiedPolicy(torchscript=True))[0].signature.inputs == (TensorSpec("a", "FP32", (2,)),)


def test_of_two_files_the_configured_one_is_opened(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.double())
    (tmp_path / "net" / "1" / "model.pt").touch()
    assert list(found(tmp_path)[0].artifacts) == ["onnx"]
    configure(tmp_path, 'format = "torchscript"')
    with pytest.raises(RepositoryError, match="--trust-torchscript"):
        found(tmp_path)
    configure(tmp_path, 'format = "tensorrt"')
    with pytest.raises(ConfigError, match="format: expected one of onnx, torchscript, found 'tensorrt'"):
        found(tmp_path)


def test_a_folder_with_neither_manifest_nor_model_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "net" / "1").mkdir(parents=True)
    with pytest.raises(
        RepositoryError, match=r"net/1: expected manifest\.json or one of model\.onnx, model\.pt, found none"
    ):
        found(tmp_path)


def test_a_type_that_no_tensor_has_is_named(tmp_path: Path) -> None:
    graph = model([node("SequenceConstruct", ["x"], ["y"])], {"x": (FLOAT, (2,))}, {})
    from onnx import helper

    graph.graph.output.append(helper.make_tensor_sequence_value_info("y", FLOAT, None))
    strangers.put(tmp_path, "net", graph)
    with pytest.raises(
        BackendError, match=r"model\.onnx: output 'y': expected a tensor of bool, .*, found seq\(tensor\(float\)\)"
    ):
        found(tmp_path)


def test_reading_a_configuration_imports_no_runtime(tmp_path: Path) -> None:
    strangers.put(tmp_path, "net", strangers.double(), config="max_batch_size: 4")
    program = (
        "import sys; from pathlib import Path; from models.repository import Repository\n"
        "from serving.engine.finding import config_of\n"
        f"assert config_of(Repository(Path({str(tmp_path)!r})), 'net').max_batch_size == 4\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "onnxruntime", "fastapi", "prometheus_client", "onnx"}


def test_a_model_cannot_have_the_name_of_a_path(tmp_path: Path) -> None:
    toys.publish(tmp_path, "stats")
    with pytest.raises(ConfigError, match="expected another than 'stats'"):
        open_version(Repository(tmp_path), "stats", 1, UnverifiedPolicy())


GPU_GROUP = "instance_group { count: 2 kind: KIND_GPU gpus: [ 3 ] }"


def test_a_gpu_that_only_triton_s_file_wants_and_that_is_not_there_is_the_cpu_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OnnxBackend, "has_device", lambda self, device: device == "cpu")
    strangers.put(tmp_path, "net", strangers.double())
    (tmp_path / "net" / "config.pbtxt").write_text(f"{GPU_GROUP} max_bach_size: 8")
    _, config = found(tmp_path)
    assert (config.device, config.instances) == (("cpu",), 2)
    told = [record.getMessage() for record in caplog.records if "event=config_ignored" in record.getMessage()]
    assert len(told) == 1
    for word in ("max_bach_size", "instance_group.kind (KIND_GPU; it is served on the CPU, without cuda:3)"):
        assert word in told[0]


def test_a_gpu_that_triton_s_file_wants_and_that_is_there_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OnnxBackend, "has_device", lambda self, device: True)
    strangers.put(tmp_path, "net", strangers.double())
    (tmp_path / "net" / "config.pbtxt").write_text(GPU_GROUP)
    _, config = found(tmp_path)
    assert config.device == ("cuda:3", "cuda:3")
    assert "config_ignored" not in caplog.text


def test_a_gpu_of_our_own_configuration_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxBackend, "has_device", lambda self, device: device == "cpu")
    strangers.put(tmp_path, "net", strangers.double())
    (tmp_path / "net" / "config.pbtxt").write_text(GPU_GROUP)
    configure(tmp_path, 'device = "cuda:1"')
    assert found(tmp_path)[1].device == ("cuda:1",)
