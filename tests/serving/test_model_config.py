from pathlib import Path

import pytest

from serving import model_config
from serving.backends.base import Execution
from serving.model_config import ConfigError, ModelConfig, VersionPolicy


def read(folder: Path, text: str) -> ModelConfig:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return model_config.read(path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert model_config.read(tmp_path / "config.toml") == ModelConfig()


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n") == ModelConfig()


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
        format = "onnx"
        instances = 2
        threads = 3
        queue_rows = 4
        queue_delay_seconds = 0.5
        timeout_seconds = 6
    """
    expected = ModelConfig("onnx", instances=2, threads=3, queue_rows=4, queue_delay_seconds=0.5, timeout_seconds=6)
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instance = 1", "expected the keys format, instances"),
        ("[instances]\na = 1", "instances: expected a number, found {'a': 1}"),
        ("[model]\ninstances = 1", "found 'model'"),
        ("instances = 0", "instances: expected 1 to 64, found 0"),
        ("instances = 65", "instances: expected 1 to 64, found 65"),
        ("instances = -1", "instances"),
        ("instances = 1.0", "instances: expected a number, found 1.0"),
        ("instances = true", "instances: expected a number, found True"),
        ('instances = "1"', "instances: expected a number, found '1'"),
        ("instances = [1]", "instances"),
        ("threads = 1979-05-27", "threads"),
        ("queue_rows = 0", "queue_rows: expected 1 to 1e"),
        ("queue_delay_seconds = -0.1", "queue_delay_seconds"),
        ("queue_delay_seconds = nan", "queue_delay_seconds: expected 0 to 10, found nan"),
        ("queue_delay_seconds = inf", "queue_delay_seconds"),
        ("timeout_seconds = 0", "timeout_seconds: expected 0.001 to 3600, found 0"),
        ("timeout_seconds = nan", "timeout_seconds"),
        ("timeout_seconds = false", "timeout_seconds"),
        ("format = 1", "format: expected a text, found 1"),
        ('device = "gpu"', 'config.toml: device: expected "cpu", "cuda:0" or a list of such, found \'gpu\''),
        ('device = "cuda:-1"', "device: expected"),
        ("device = 0", "device: expected"),
        ("device = []", "device: expected"),
        ('device = ["cuda:0", "tpu"]', "device: expected"),
        ('device = ["cuda:0", 1]', "device: expected"),
        ('precision = "fp32"', "precision: expected one of tf32, fp16, bf16, found 'fp32'"),
        ("precision = 16", "precision: expected one of"),
        ('precision = ["fp16"]', "precision: expected one of"),
        ("batch_buckets = 8", "batch_buckets: expected a list of at most 64 batch sizes, each once, found 8"),
        ("batch_buckets = [0]", "batch_buckets: expected 1 to 1e+06, found 0"),
        ("batch_buckets = [1, true]", "batch_buckets: expected a number, found True"),
        ("batch_buckets = [2, 2]", "batch_buckets: expected a list"),
        (f"batch_buckets = {list(range(1, 67))}", "batch_buckets: expected a list"),
        ('versions = "newest"', "config.toml: versions: expected { latest = 2 }, [1, 3]"),
        ("versions = 2", "versions: expected"),
        ("versions = []", "versions: expected"),
        ("versions = [0]", "versions: expected"),
        ("versions = [1, 1]", "versions: expected"),
        ("versions = [true]", "versions: expected"),
        ("versions = { latest = 0 }", "versions: expected"),
        ("versions = { latest = 1, all = true }", "versions: expected"),
        ("max_batch_size = -1", "max_batch_size: expected 0 to 1e+06, found -1"),
        ("max_batch_size = true", "max_batch_size: expected a number, found True"),
        ("instances = 1\ninstances = 2", "config.toml: "),
        ("instances 1", "config.toml: "),
        ("\0", "config.toml: "),
    ],
)
def test_what_makes_no_sense_is_refused_with_key_found_and_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("instances", 64), ("queue_delay_seconds", 0), ("queue_delay_seconds", 10), ("timeout_seconds", 0.001)],
)
def test_values_at_the_edge_of_their_range_are_taken(tmp_path: Path, key: str, value: float) -> None:
    assert getattr(read(tmp_path, f"{key} = {value}"), key) == value


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml: "):
        model_config.read(path)


def test_what_cannot_be_read_is_refused_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.mkdir()
    with pytest.raises(ConfigError) as error:
        model_config.read(path)
    assert str(error.value) == "config.toml: expected a regular file"


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", (7,)),
        ("versions = { latest = 2 }", (4, 7)),
        ("versions = { latest = 9 }", (1, 4, 7)),
        ("versions = [4, 1]", (1, 4)),
        ('versions = "all"', (1, 4, 7)),
    ],
)
def test_a_policy_chooses_among_what_is_published(tmp_path: Path, text: str, chosen: tuple[int, ...]) -> None:
    policy = read(tmp_path, text).versions
    assert policy.choose([7, 1, 4]) == chosen
    assert VersionPolicy(latest=2).choose([]) == ()


def test_a_version_that_is_asked_for_and_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"versions: expected some of \[1, 2\], found 3"):
        VersionPolicy(latest=None, specific=(1, 3)).choose([1, 2])


@pytest.mark.parametrize(
    ("text", "device", "of_five"),
    [
        ("", ("cpu",), ["cpu"] * 5),
        ('device = "cpu"', ("cpu",), ["cpu"] * 5),
        ('device = "cuda"', ("cuda:0",), ["cuda:0"] * 5),
        ('device = "cuda:1"', ("cuda:1",), ["cuda:1"] * 5),
        ('device = ["cuda:0", "cuda:1"]', ("cuda:0", "cuda:1"), ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]),
    ],
)
def test_instances_are_given_devices_in_turn(tmp_path: Path, text: str, device: tuple[str, ...], of_five: list[str]) -> None:
    config = read(tmp_path, text)
    assert config.device == device
    assert [config.device_of(number) for number in range(5)] == of_five
    assert config.on_cpu == (device == ("cpu",))


def test_how_a_session_computes_is_what_a_backend_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, "").execution == Execution()
    assert read(tmp_path, 'precision = "bf16"\nbatch_buckets = [8, 2]').execution == Execution("bf16", (2, 8))
    assert read(tmp_path, "batch_buckets = []").execution == Execution(batch_buckets=())
