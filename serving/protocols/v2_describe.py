"""What the Open Inference Protocol tells of models: metadata, Triton's configuration and its statistics, as JSON."""

from collections import Counter

from models.tensors import Signature, TensorSpec
from serving.engine.base import ModelMetadata
from serving.engine.statistics import BatchStatistics, Duration, ModelStatistics
from serving.model_config import ModelConfig
from serving.protocols.json_body import Json


def metadata_json(metadata: ModelMetadata) -> Json:
    """Return a model's metadata; shapes have the batch axis, -1 stands for a free one."""
    signature = metadata.signature
    return {
        "name": metadata.name,
        "versions": [str(version) for version in metadata.versions],
        "platform": metadata.platform,
        "inputs": [_tensor(signature, spec) for spec in signature.inputs],
        "outputs": [_tensor(signature, spec) for spec in signature.outputs],
    }


def config_json(metadata: ModelMetadata, config: ModelConfig) -> Json:
    """Return a model's configuration in Triton's terms, which perf_analyzer reads before it sends anything.

    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
    """
    signature = metadata.signature
    batching: Json = {
        "dynamic_batching": {
            "preferred_batch_size": [signature.max_batch_size],
            "max_queue_delay_microseconds": round(config.queue_delay_seconds * 1e6),
            "priority_levels": config.priority_levels,
        }
    }
    return {
        "name": metadata.name,
        "platform": metadata.platform,
        "backend": metadata.platform.partition("_")[0],
        "version_policy": {"specific": {"versions": list(metadata.versions)}},
        "max_batch_size": signature.max_batch_size,
        "input": [_configured(spec) for spec in signature.inputs],
        "output": [_configured(spec) for spec in signature.outputs],
        "instance_group": _instance_groups(metadata.name, config),
        "response_cache": {"enable": False},
        "parameters": {
            "batching": {"string_value": metadata.batching},
            "verified": {"string_value": "true" if metadata.verified else "false"},
            "format": {"string_value": config.format or ""},
            "format_chosen": {"string_value": metadata.chosen},
        },
        **(batching if signature.batched else {}),
    }


def statistics_json(statistics: ModelStatistics) -> Json:
    """Return what a version has done, in the terms of the statistics extension."""
    stages = {stage: _duration(duration) for stage, duration in statistics.durations.items()}
    none = _duration(Duration(0, 0))  # there is no cache to hit
    return {
        "name": statistics.model,
        "version": str(statistics.version),
        "last_inference": statistics.last_inference,
        "inference_count": statistics.inference_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {**stages, "cache_hit": none, "cache_miss": none},
        "response_stats": {},
        "batch_stats": [_batch(size, batch) for size, batch in statistics.batches.items()],
        "memory_usage": [],
    }


def _tensor(signature: Signature, spec: TensorSpec) -> Json:
    shape = [-1 if length is None else length for length in signature.full_shape(spec)]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _configured(spec: TensorSpec) -> Json:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    dims = [-1 if length is None else length for length in spec.shape]
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": dims}


def _duration(duration: Duration) -> Json:
    return {"count": duration.count, "ns": duration.ns}


def _batch(size: int, batch: BatchStatistics) -> Json:
    return {
        "batch_size": size,
        "compute_input": _duration(batch.join),
        "compute_infer": _duration(batch.run),
        "compute_output": _duration(batch.split),
    }


def _instance_groups(name: str, config: ModelConfig) -> list[Json]:
    """Return where the instances compute, as Triton says it: a group for each device, with how many are there."""
    devices = Counter(config.device_of(instance) for instance in range(config.instances))
    groups: list[Json] = []
    for number, (device, count) in enumerate(devices.items()):
        kind, _, index = device.partition(":")
        group: Json = {"name": f"{name}_{number}", "kind": "KIND_GPU" if kind == "cuda" else "KIND_CPU", "count": count}
        groups.append({**group, "gpus": [int(index)]} if kind == "cuda" else group)
    return groups
