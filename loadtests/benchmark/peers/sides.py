"""The peers, in terms of the benchmark: how each is started, out of which environment, and how it is asked."""

import base64
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtests.benchmark.asking import as_binary, as_bytes, as_json
from loadtests.benchmark.peers.environments import COMPLETE, FAILED
from loadtests.benchmark.session import MODEL
from loadtests.benchmark.side import FRAMEWORK, Absent, Exchange, Side
from loadtests.benchmark.work import BINARY, JSON
from models.tensors import Array

_PROGRAMS = "loadtests.benchmark.peers"
_V2 = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework, the environment it lives in, and what to run with that environment's Python."""

    name: str
    environment: str
    words: tuple[str, ...]
    exchanges: Mapping[str, Callable[[Array], Exchange]]
    variables: Mapping[str, str] = field(default_factory=dict)


def _as_instances(images: Array) -> Exchange:
    """Return the exchange of KServe's V1: nested lists."""

    def read(_: Mapping[str, str], body: bytes) -> Array:
        return np.array(json.loads(body)["predictions"], np.float32)

    # The digits of FP32, as in V2: seventeen of a double would make the body half as long again.
    instances = [[[float(str(value)) for value in line] for line in image] for image in images]
    body = json.dumps({"instances": instances}, separators=(",", ":")).encode()
    return Exchange(f"/v1/models/{MODEL}:predict", body, read, {"content-type": "application/json"})


def _as_base64(images: Array) -> Exchange:
    """Return the exchange in which bytes are a string of a JSON document, and the answer is V2's."""
    body = json.dumps({"base64": base64.b64encode(images.tobytes()).decode()}).encode()
    plain = as_json("/predict", images)
    return Exchange(plain.path, body, plain.read, plain.headers)


_MOSEC = ("-m", f"{_PROGRAMS}.mosec_server", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning")
_MOSEC_JSON = {JSON: functools.partial(as_json, "/inference")}

PEERS = (
    Peer(
        "mosec",
        "mosec",
        _MOSEC,
        {**_MOSEC_JSON, BINARY: functools.partial(as_bytes, "/inference")},
        {"BENCHMARK_JSON": "stdlib"},
    ),
    Peer("mosec, orjson", "mosec", _MOSEC, _MOSEC_JSON, {"BENCHMARK_JSON": "orjson"}),
    Peer(
        "LitServe",
        "litserve",
        ("-m", f"{_PROGRAMS}.litserve_server", "{port}"),
        {JSON: functools.partial(as_json, "/predict"), BINARY: _as_base64},
    ),
    Peer(
        "BentoML",
        "bentoml",
        ("-m", "bentoml", "serve", f"{_PROGRAMS}.bentoml_server:Benchmark", "--host", "127.0.0.1", "--port", "{port}"),
        {JSON: functools.partial(as_json, "/json"), BINARY: functools.partial(as_bytes, "/binary")},
    ),
    Peer("KServe, V1", "kserve", ("-m", f"{_PROGRAMS}.kserve_server", "{port}"), {JSON: _as_instances}),
    Peer(
        "KServe, V2",
        "kserve",
        ("-m", f"{_PROGRAMS}.kserve_server", "{port}"),
        {JSON: functools.partial(as_json, _V2), BINARY: functools.partial(as_binary, _V2)},
    ),
    Peer(
        "MLServer",
        "mlserver",
        ("-m", f"{_PROGRAMS}.mlserver_server", "{port}"),
        {JSON: functools.partial(as_json, _V2)},
    ),
)


def sides(environments: Path) -> tuple[list[Side], list[Absent]]:
    """Return the peers whose environment is there, and of the others why they are left out."""
    found, absent = [], []
    for peer in PEERS:
        python = environments / peer.environment / "bin" / "python"
        if not (environments / peer.environment / COMPLETE).is_file():
            absent.append(Absent(peer.name, None, _reason(environments, peer.environment)))
            continue
        # What would ask the internet, or tell it something, is off.
        quiet = {"BENTOML_DO_NOT_TRACK": "True", "LITSERVE_DISABLE_UPDATE_CHECK": "1", "BENCHMARK_MODEL": "{model}"}
        variables = {**quiet, **peer.variables}
        found.append(Side(peer.name, FRAMEWORK, (str(python), *peer.words), peer.exchanges, variables))
    return found, absent


def _reason(environments: Path, name: str) -> str:
    failed = environments / f"{name}{FAILED}"
    if failed.is_file():
        return failed.read_text(encoding="utf-8").strip()
    return "it has no environment yet; make them with: python -m loadtests.benchmark.peers.environments"
