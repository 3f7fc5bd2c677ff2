"""Triton's config.pbtxt: what it means here, what it does not, and what is wrong with it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import triton_config
from serving.backends.declared import DeclaredTensor
from serving.model_config import ConfigError, ModelConfig, VersionPolicy
from serving.triton_config import TritonConfig


def read(text: str) -> TritonConfig:
    return triton_config.from_text(text, "config.pbtxt", "net")


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", ModelConfig()),
        ('name: "net"', ModelConfig()),
        ("max_batch_size: 8", ModelConfig(max_batch_size=8)),
        ("max_batch_size: 0", ModelConfig(max_batch_size=0)),
        ("instance_group { }", ModelConfig(instances=1)),
        ("instance_group [ { count: 2 kind: KIND_CPU }, { count: 3 } ]", ModelConfig(instances=5)),
        ("instance_group { kind: KIND_GPU }", ModelConfig(instances=1, device=("cuda:0",))),
        ("instance_group { kind: KIND_GPU gpus: [ 1, 3 ] }", ModelConfig(instances=2, device=("cuda:1", "cuda:3"))),
        ("instance_group { count: 2 gpus: 1 }", ModelConfig(instances=2, device=("cuda:1", "cuda:1"))),
        (
            "instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }, { kind: KIND_CPU } ]",
            ModelConfig(instances=5, device=("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cpu")),
        ),
        ("dynamic_batching { }", ModelConfig()),
        ("dynamic_batching { max_queue_delay_microseconds: 250 }", ModelConfig(queue_delay_seconds=0.00025)),
        (
            "dynamic_batching { priority_levels: 3 default_priority_level: 2 }",
            ModelConfig(priority_levels=3, default_priority=2),
        ),
        ("version_policy: { latest: { num_versions: 3 } }", ModelConfig(versions=VersionPolicy(latest=3))),
        ("version_policy { latest { } }", ModelConfig()),
        ("version_policy { all { } }", ModelConfig(versions=VersionPolicy(latest=None))),
        (
            "version_policy { specific: { versions: [ 1, 3 ] } }",
            ModelConfig(versions=VersionPolicy(latest=None, specific=(1, 3))),
        ),
        (
            'parameters { key: "intra_op_thread_count" value: { string_value: "4" } }',
            ModelConfig(threads=4),
        ),
        ('parameters { key: "intra_op_thread_count" value: { string_value: "0" } }', ModelConfig()),
    ],
)
def test_what_has_a_counterpart_is_followed(text: str, config: ModelConfig) -> None:
    found = read(text)
    assert found.config == config
    assert found.ignored == ()


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("optimization { graph { level: 1 } }", ("optimization",)),
        ("model_warmup [ { }, { } ]", ("model_warmup",)),
        ("dynamic_batching { preferred_batch_size: [ 4, 8 ] }", ("dynamic_batching.preferred_batch_size",)),
        (
            "dynamic_batching { default_queue_policy { default_timeout_microseconds: 5 timeout_action: DELAY } }",
            (
                "dynamic_batching.default_queue_policy.default_timeout_microseconds",
                "dynamic_batching.default_queue_policy.timeout_action",
            ),
        ),
        (
            "instance_group { kind: KIND_MODEL gpus: [ 0 ] }",
            ("instance_group.gpus", "instance_group.kind (KIND_MODEL; it is served on the CPU)"),
        ),
        ("instance_group { kind: KIND_CPU gpus: [ 0 ] }", ("instance_group.gpus",)),
        ('parameters { key: "enable_mem_arena" value: { string_value: "1" } }', ("parameters[enable_mem_arena]",)),
        (
            'output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }',
            ("output.label_filename",),
        ),
        ("max_bach_size: 8", ("max_bach_size",)),
    ],
)
def test_what_has_none_is_named(text: str, ignored: tuple[str, ...]) -> None:
    assert read(text).ignored == ignored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "other"', "config.pbtxt:1:7: name: expected the model's folder, net, found 'other'"),
        ('max_batch_size:\n "8"', "config.pbtxt:2:2: max_batch_size: expected a whole number, found '8'"),
        ("max_batch_size: -1", "max_batch_size: expected 0 or more, found -1"),
        ("max_batch_size: 1.5", "max_batch_size: expected a whole number, found 1.5"),
        ("max_batch_size: 99999999", "max_batch_size: expected 0 to 1e+06"),
        ("max_batch_size { }", "max_batch_size: expected a whole number, found a message"),
        ("platform: onnxruntime_onnx", "platform: expected a text, found onnxruntime_onnx"),
        ("input: 3", "config.pbtxt:1:8: input: expected '{', found 3"),
        ("input { data_type: TYPE_FP32 }", "input.name: expected a tensor's name, found None"),
        ('input { name: "x" data_type: TYPE_FP8 }', "input.data_type: expected one of TYPE_BOOL"),
        ('input { name: "x" }', "input.data_type: expected one of"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [ -2 ] }', "input.dims: expected lengths"),
        ("instance_group { count: 65 }", "instance_group.count: expected 1 to 64, found 65"),
        ("instance_group { count: 40 } instance_group { count: 40 }", "instance_group: count: expected 1 to 64, found 80"),
        ("instance_group { kind: KIND_GPU gpus: -1 }", "instance_group.gpus: expected numbers of GPUs, from 0, found -1"),
        ("instance_group { gpus: cuda }", "instance_group.gpus: expected a whole number, found cuda"),
        ("instance_group { count: 33 gpus: [ 0, 1 ] }", "instance_group: count: expected 1 to 64, found 66"),
        ("version_policy { latest { num_versions: 0 } }", "version_policy.latest.num_versions: expected"),
        ("version_policy { specific { } }", "version_policy.specific.versions: expected"),
        ("dynamic_batching { priority_levels: 2 default_priority_level: 3 }", "expected 1 to priority_levels (2), found 3"),
        ("dynamic_batching { max_queue_delay_microseconds: 99000000 }", "seconds: expected 0 to 10, found 99.0"),
        (
            'parameters { key: "intra_op_thread_count" value: { string_value: "-1" } }',
            "expected a number of threads as a text",
        ),
        ('parameters { key: "intra_op_thread_count" value: { string_value: "999" } }', "expected 1 to 256, found 999"),
        ("a: {", "config.pbtxt:1:5: "),
    ],
)
def test_what_makes_no_sense_is_refused_with_place_field_found_and_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert message in str(error.value)
    assert str(error.value).startswith("config.pbtxt")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("", None),
        ('platform: "onnxruntime_onnx"', "onnx"),
        ('backend: "onnxruntime"', "onnx"),
        ('platform: "pytorch_libtorch"', "torchscript"),
        ('backend: "pytorch" platform: ""', "torchscript"),
    ],
)
def test_platform_and_backend_name_the_format(text: str, format: str | None) -> None:
    assert read(text).format == format


@pytest.mark.parametrize("name", ["tensorrt_plan", "ensemble", "python", "tensorflow_savedmodel"])
def test_a_backend_that_is_not_here_is_an_error_once_a_version_is_to_be_opened(name: str) -> None:
    found = read(f'platform: "{name}" version_policy {{ all {{ }} }}')
    assert found.config.versions == VersionPolicy(latest=None)
    with pytest.raises(ConfigError, match=f"found '{name}'"):
        _ = found.format


def test_dims_leave_the_batch_axis_out_where_there_is_one() -> None:
    tensors = (
        'input { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] } output { name: "y" data_type: TYPE_STRING dims: [ 1 ] }'
    )
    assert read(f"max_batch_size: 4 {tensors}").declared().inputs == (DeclaredTensor("x", "FP32", (None, 3, None)),)
    assert read(tensors).declared().outputs == (DeclaredTensor("y", "BYTES", (1,)),)


def test_a_reshape_tells_the_shape_of_the_model_itself() -> None:
    found = read('max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }')
    assert found.declared().inputs == (DeclaredTensor("x", "FP32", (None,)),)
    assert found.ignored == ("input.reshape",)


def positional(*names: str) -> list[str]:
    text = "".join(f'input {{ name: "{name}" data_type: TYPE_FP32 dims: [ 1 ] }} ' for name in names)
    return [tensor.name for tensor in read(text).positional().inputs]


def test_a_number_at_the_end_of_a_name_is_a_position() -> None:
    assert positional("INPUT__1", "INPUT__0") == ["INPUT__0", "INPUT__1"]
    assert positional(*(f"x__{number}" for number in range(11))) == [f"x__{number}" for number in range(11)]
    assert positional("b", "a") == ["b", "a"]
    assert positional("b__1", "a") == ["b__1", "a"]


@pytest.mark.parametrize("names", [("x__0", "x__2"), ("x__1",), ("x__0", "y__0")])
def test_positions_that_are_missing_or_taken_twice_are_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"expected names that end in __0 to __{len(names) - 1}"):
        positional(*names)


def test_the_queue_is_limited_in_requests() -> None:
    text = "dynamic_batching { default_queue_policy { max_queue_size: 5 allow_timeout_override: true } }"
    assert (read(text).queue_requests, read(text).ignored) == (5, ())
    assert read(text.replace("5", "0")).queue_requests is None


def test_no_file_is_no_configuration_and_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    assert triton_config.read(path, "net") is None
    path.write_bytes(b"\xef\xbb\xbfmax_batch_size: 2")
    assert triton_config.read(path, "net") == TritonConfig(ModelConfig(max_batch_size=2))
    for data in (b"\xff", b"#" * (1024 * 1024 + 1)):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"^config\.pbtxt: expected"):
            triton_config.read(path, "net")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError) as error:
        triton_config.read(path, "net")
    assert str(error.value) == "config.pbtxt: expected a regular file"


FIELDS = st.sampled_from(
    ["max_batch_size", "input", "output", "name", "dims", "data_type", "version_policy", "latest", "specific", "versions",
     "instance_group", "count", "kind", "parameters", "key", "value", "string_value", "dynamic_batching", "priority_levels",
     "default_queue_policy", "max_queue_size", "reshape", "shape", "platform", "num_versions"]
)  # fmt: skip
SCALARS = st.sampled_from(
    ['"net"', "1", "-1", "0", "1e400", "0xffffffffffffffffff", "KIND_GPU", "TYPE_FP32", "[ ]", "[ 1, -1 ]", '"4"']
)
MESSAGES = st.recursive(
    st.tuples(FIELDS, SCALARS).map(lambda pair: f"{pair[0]}: {pair[1]} "),
    lambda inner: st.tuples(FIELDS, st.lists(inner, max_size=4)).map(lambda pair: f"{pair[0]} {{ {''.join(pair[1])} }} "),
    max_leaves=12,
)


@given(st.one_of(st.text(), st.lists(MESSAGES, max_size=4).map("".join)))
def test_whatever_stands_in_it_is_a_configuration_or_an_error(text: str) -> None:
    try:
        found = read(text)
        found.declared()
        found.positional()
    except ConfigError:
        return
