"""`config.pbtxt`, the model configuration of the Triton Inference Server, as far as it has a counterpart here.

What has none is remembered by its name, for a warning. docs/repository.md has the table.
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from dataclasses import dataclass, replace
from pathlib import Path

from models.tensors import DTYPES
from serving import config_file
from serving.backends.declared import Declared, DeclaredTensor
from serving.backends.devices import CPU, cuda
from serving.model_config import ConfigError, ModelConfig, VersionPolicy, check_range
from serving.protobuf_fields import Fields
from serving.protobuf_text import parse

#: What Triton calls what we open: `platform`, its older field, and `backend`.
_FORMATS = {
    "onnxruntime_onnx": "onnx",
    "onnxruntime": "onnx",
    "pytorch_libtorch": "torchscript",
    "pytorch": "torchscript",
}

#: Triton's names of datatypes: TYPE_ and the protocol's, but for one.
_DATATYPES = {f"TYPE_{name}": name for name in DTYPES if name != "BYTES"} | {"TYPE_STRING": "BYTES"}


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What a `config.pbtxt` says.

    config          its policy in our terms, with every default that it leaves alone
    runs_on         its `platform` or `backend`, None where it names neither
    file            the name of the model file, None for the usual one
    inputs, outputs what it declares, without the batch axis where `max_batch_size` says that there is one
    queue_requests  how many requests may wait; our own limit is in rows, so it needs the largest batch first
    ignored         the fields that have no counterpart here
    """

    config: ModelConfig
    runs_on: str | None = None
    file: str | None = None
    inputs: tuple[DeclaredTensor, ...] = ()
    outputs: tuple[DeclaredTensor, ...] = ()
    queue_requests: int | None = None
    ignored: tuple[str, ...] = ()

    @property
    def format(self) -> str | None:
        """The format of the model file, None where `platform` and `backend` are left out; raise ConfigError for others'."""
        if self.runs_on is None:
            return None
        if self.runs_on not in _FORMATS:
            raise ConfigError(f"config.pbtxt: expected a backend of {', '.join(_FORMATS)}, found {self.runs_on!r:.100}")
        return _FORMATS[self.runs_on]

    def declared(self) -> Declared:
        """Return the inputs and outputs with whole shapes: without a `max_batch_size`, Triton's dims are those."""
        batch: tuple[None, ...] = (None,) if self.config.max_batch_size else ()
        whole = [
            tuple(replace(tensor, axes=(*batch, *tensor.axes)) for tensor in tensors)
            for tensors in (self.inputs, self.outputs)
        ]
        return Declared(whole[0], whole[1])

    def positional(self) -> Declared:
        """Return what `declared` does, in the order of positions, for a format whose files name no tensors."""
        declared = self.declared()
        return Declared(_by_position(declared.inputs), _by_position(declared.outputs))


def read(path: Path, model: str) -> TritonConfig | None:
    """Return the configuration in a file, None where there is none; raise ConfigError for one that cannot be used."""
    data = config_file.read(path)
    if data is None:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: expected a text in UTF-8: {error}") from error
    return from_text(text, path.name, model)


def from_text(text: str, name: str, model: str) -> TritonConfig:
    """Return the configuration in a text; `name` is its file's, for errors, which name line and column."""
    fields = Fields(parse(text, name), name)
    fields.known("name")
    stated = fields.text("name")
    if stated not in (None, "", model):
        raise fields.error("name", f"the model's folder, {model}", repr(stated)[:100])
    devices = _instances(fields)
    config = ModelConfig(
        max_batch_size=fields.number("max_batch_size", "max_batch_size"),
        instances=len(devices),
        device=(CPU,) if set(devices) == {CPU} else devices,
        versions=_versions(fields),
        threads=_threads(fields),
    )
    config, queue_requests = _batching(fields, config)
    return TritonConfig(
        config,
        # An empty text is protobuf's way of saying nothing.
        runs_on=fields.text("backend") or fields.text("platform") or None,
        file=fields.text("default_model_filename") or None,
        inputs=tuple(_tensor(tensor) for tensor in fields.messages("input")),
        outputs=tuple(_tensor(tensor) for tensor in fields.messages("output")),
        queue_requests=queue_requests,
        ignored=tuple(dict.fromkeys(fields.ignored())),
    )


def _instances(fields: Fields) -> tuple[str, ...]:
    """Return where the instances of all groups compute, one after the other.

    A group's `count` is for each of its GPUs. KIND_AUTO is on the GPUs that it names, else on the CPU; KIND_GPU without any
    is on the first, where Triton would take all.
    """
    places: list[str] = []
    for group in fields.messages("instance_group"):
        group.known("name")
        kind = group.word("kind") or "KIND_AUTO"
        if kind in ("KIND_AUTO", "KIND_GPU"):
            gpus = [_gpu(group, group.integer_in("gpus", value)) for value in group.values("gpus")]
        else:
            gpus = []
            if kind != "KIND_CPU":
                group.ignore(f"kind ({kind}; it is served on the CPU)")
        if kind == "KIND_GPU" and not gpus:
            gpus = [cuda(0)]
        stated = group.number("count", "instances")
        count, gpus = 1 if stated is None else stated, gpus or [CPU]
        check_range(f"{fields.place('instance_group')}: instance_group: count", "instances", len(places) + count * len(gpus))
        places += gpus * count
    return tuple(places) or (CPU,) * ModelConfig().instances


def _gpu(group: Fields, index: int) -> str:
    if not 0 <= index <= 9999:
        raise group.error("gpus", "numbers of GPUs, from 0", str(index)[:100])
    return cuda(index)


def _versions(fields: Fields) -> VersionPolicy:
    policy = fields.message("version_policy")
    if policy is None:
        return VersionPolicy()
    if policy.message("all") is not None:
        return VersionPolicy(latest=None)
    if (specific := policy.message("specific")) is not None:
        return _policy(specific, "versions", [value.content for value in specific.values("versions")])
    latest = policy.message("latest")
    count = None if latest is None else latest.integer("num_versions")
    return VersionPolicy() if latest is None or count is None else _policy(latest, "num_versions", {"latest": count})


def _policy(fields: Fields, key: str, value: object) -> VersionPolicy:
    try:
        return VersionPolicy.from_toml(value)
    except ConfigError:
        raise fields.error(key, "numbers from 1, each once", repr(value)[:100]) from None


def _threads(fields: Fields) -> int:
    """Return the threads of a session, from the one parameter that we know; 0 is ONNX Runtime's word for its default."""
    threads = ModelConfig().threads
    for parameter in fields.messages("parameters"):
        key = parameter.text("key") or ""
        value = parameter.message("value")
        text = None if value is None else value.text("string_value")
        if key != "intra_op_thread_count":
            fields.ignore(f"parameters[{key}]")
        elif text is None or not text.isascii() or not text.isdigit() or len(text) > 4:
            raise parameter.error("value", "a number of threads as a text", repr(text)[:100])
        elif int(text):
            threads = int(text)
            check_range(f"{parameter.place('value')}: parameters[{key}]", "threads", threads)
    return threads


def _batching(fields: Fields, config: ModelConfig) -> tuple[ModelConfig, int | None]:
    """Return the configuration with the delay and the priorities of dynamic batching, and the limit of its queue."""
    batching = fields.message("dynamic_batching")
    if batching is None:
        return config, None
    delay = batching.integer("max_queue_delay_microseconds") or 0
    levels = batching.number("priority_levels", "priority_levels") or 0
    default = batching.integer("default_priority_level") or None
    seconds = delay / 1e6
    check_range(f"{batching.place('max_queue_delay_microseconds')}: seconds", "queue_delay_seconds", seconds)
    if default is not None and not 1 <= default <= levels:
        raise batching.error("default_priority_level", f"1 to priority_levels ({levels})", str(default))
    queue = batching.message("default_queue_policy")
    requests = None
    if queue is not None:
        queue.known("allow_timeout_override")  # a request may ask for less time than its model gives, and for no more
        requests = queue.integer("max_queue_size") or None  # 0 is Triton's default, a queue without an end
        if requests is not None:
            check_range(f"{queue.place('max_queue_size')}: max_queue_size", "queue_rows", requests)
    return replace(config, queue_delay_seconds=seconds, priority_levels=levels, default_priority=default), requests


def _tensor(fields: Fields) -> DeclaredTensor:
    name, datatype = fields.text("name"), fields.word("data_type")
    if not name:
        raise fields.error("name", "a tensor's name", repr(name))
    if datatype not in _DATATYPES:
        raise fields.error("data_type", f"one of {', '.join(_DATATYPES)}", str(datatype)[:100])
    dims = _lengths(fields, "dims")
    if (reshape := fields.message("reshape")) is not None:
        # The shape that the model takes, where Triton's clients are to see another. Ours see the model's.
        fields.ignore("reshape")
        dims = _lengths(reshape, "shape")
    return DeclaredTensor(name, _DATATYPES[datatype], dims)


def _lengths(fields: Fields, key: str) -> tuple[int | None, ...]:
    lengths = [fields.integer_in(key, value) for value in fields.values(key)]
    if any(length < -1 for length in lengths):
        raise fields.error(key, "lengths, -1 where one is free", str(lengths)[:100])
    return tuple(None if length == -1 else length for length in lengths)


def _by_position(tensors: tuple[DeclaredTensor, ...]) -> tuple[DeclaredTensor, ...]:
    """Return tensors in the order of the numbers their names end with, as `INPUT__0` does; else in the order listed."""
    ends = [tensor.name.rpartition("__")[2] for tensor in tensors]
    numbers = [int(end) for end in ends if end.isascii() and end.isdigit() and len(end) < 4]
    if not tensors or len(numbers) < len(tensors) or any("__" not in tensor.name for tensor in tensors):
        return tensors
    if sorted(numbers) != list(range(len(tensors))):
        expected = f"names that end in __0 to __{len(tensors) - 1}"
        found = ", ".join(tensor.name for tensor in tensors)
        raise ConfigError(f"config.pbtxt: expected {expected}, found {found:.200}")
    return tuple(tensor for _, tensor in sorted(zip(numbers, tensors, strict=True), key=lambda pair: pair[0]))
