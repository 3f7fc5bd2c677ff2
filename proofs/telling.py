"""The model that tells its version: every answer, its label and its scores, can only have come from the version it names.

It takes a grey image of 4 × 4, as tensors or as a file, and answers a probability made of the image's mean and the
version's number. Levels are a quarter apart and versions a thousandth: whoever mixes two versions up gives a wrong number.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from models.content import Content, ImageContent, LabelContent
from models.repository import ModelVersion
from models.tensors import Array, Signature, TensorSpec
from proofs import graphs
from proofs.load import Request, post

MODEL = "telling"

#: What is sent.
KINDS = ROWS, SMALL_IMAGE, LARGE_IMAGE = "rows", "small image", "large image"

_SIZE = 4
#: Above 256 × 256 an image is decoded in a thread of the pool, and not on the event loop.
_LARGE = 800
#: Grey levels that are sent: few, so that each image is made once.
_LEVELS = tuple(range(0, 256, 15))
#: Two versions that are this far apart answer the same. Never are so many of them there at once.
_VERSIONS = 200
#: float32 has seven digits; versions are a thousand times this apart.
_TOLERANCE = 1e-6

_HEADER = re.compile(rf"{MODEL}/(\d+) sha256:([0-9a-f]{{64}})")

#: Shares of images among the requests, small ones and large ones. A large one costs ten times as much as a row of numbers.
_SMALL_SHARE, _LARGE_SHARE = 0.1, 0.05


def publish(root: Path, *, right: bool = True) -> ModelVersion:
    """Publish the next version; one that is not right has a golden sample that it does not reproduce."""
    version = next_version(root)
    signature = Signature(
        inputs=(TensorSpec("image", "UINT8", (_SIZE, _SIZE)),),
        outputs=(TensorSpec("probabilities", "FP32", (2,)), TensorSpec("class", "INT64", ())),
        max_batch_size=16,
    )
    images = np.stack([np.full((_SIZE, _SIZE), level, np.uint8) for level in _LEVELS])
    first = np.array([probability(level, version) for level in _LEVELS], np.float32)
    if not right:
        first += np.float32(0.0005)
    outputs: dict[str, Array] = {
        "probabilities": np.stack([first, 1 - first], axis=1),
        "class": np.zeros(len(_LEVELS), np.int64),
    }
    labels = LabelContent((f"version {version}", "none"), decision="class", scores="probabilities")
    return graphs.publish(
        root, MODEL, (signature, _graph(version)), {"image": images}, outputs,
        content=Content(ImageContent("image", _SIZE, _SIZE, "L"), labels), tolerance={"probabilities": _TOLERANCE},
    )  # fmt: skip


def next_version(root: Path) -> int:
    """Return the number that the next version will have."""
    folder = root / MODEL
    return 1 + max((int(path.name) for path in folder.glob("[1-9]*")), default=0) if folder.is_dir() else 1


def probability(level: int, version: int) -> float:
    """Return what a version answers to a grey level: between 0.5 and 0.95, so that its class is always the first."""
    return 0.5 + level / 255 / 4 + version % _VERSIONS / 1000


def told(header: str) -> tuple[int, str]:
    """Return version and digest from an answer's Sameway-Version; version 0 where it names none."""
    found = _HEADER.fullmatch(header)
    return (int(found[1]), found[2]) if found else (0, "")


def requests(host: str, *, seed: int = 0, images: bool = True) -> Iterator[Request]:
    """Yield requests without end: rows of numbers, and among them image files, small and large."""
    infer = {level: _infer(host, level) for level in _LEVELS}
    small = {level: _predict(host, level, _SIZE, SMALL_IMAGE) for level in _LEVELS}
    large = {level: _predict(host, level, _LARGE, LARGE_IMAGE) for level in _LEVELS}
    draws = random.Random(seed)
    while True:
        share, level = draws.random() if images else 1.0, draws.choice(_LEVELS)
        if share < _LARGE_SHARE:
            yield large[level]
        elif share < _LARGE_SHARE + _SMALL_SHARE:
            yield small[level]
        else:
            yield infer[level]


def _infer(host: str, level: int) -> Request:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, _SIZE, _SIZE], "data": [level] * _SIZE**2}

    def right(body: bytes, header: str) -> bool:
        answer = orjson.loads(body)
        version, _ = told(header)
        data = {output["name"]: output["data"] for output in answer["outputs"]}
        return answer["model_version"] == str(version) and _close(data["probabilities"][0], level, version)

    message = post(host, f"/v2/models/{MODEL}/infer", orjson.dumps({"inputs": [tensor]}))
    return Request(message, kind=ROWS, right_of=right)


def _predict(host: str, level: int, side: int, kind: str) -> Request:
    def right(body: bytes, header: str) -> bool:
        answer = orjson.loads(body)
        version, digest = told(header)
        named = answer["label"] == f"version {version}" and answer["digest"] == f"sha256:{digest}"
        return named and _close(answer["score"], level, version)

    file = ImageContent("image", side, side, "L").to_png(np.full((side, side), level, np.uint8))
    return Request(post(host, f"/predict/{MODEL}", file), kind=kind, right_of=right)


def _close(found: float, level: int, version: int) -> bool:
    return abs(found - probability(level, version)) <= 1e-5


def _graph(version: int) -> onnx.ModelProto:
    """Return the mean of the image, on a scale of its own for the version."""
    shift = 0.5 + version % _VERSIONS / 1000
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["level"], keepdims=0),
        helper.make_node("Mul", ["level", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["first"]),
        helper.make_node("Sub", ["one", "first"], ["second"]),
        helper.make_node("Unsqueeze", ["first", "last"], ["first_column"]),
        helper.make_node("Unsqueeze", ["second", "last"], ["second_column"]),
        helper.make_node("Concat", ["first_column", "second_column"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["class"], axis=1, keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array(1 / 255 / 4, np.float32), "scale"),
        numpy_helper.from_array(np.array(shift, np.float32), "shift"),
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(np.array([1], np.int64), "last"),
    ]
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", _SIZE, _SIZE])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("class", TensorProto.INT64, ["N"]),
        ],
        constants,
    )
    return graphs.model_of(graph)
