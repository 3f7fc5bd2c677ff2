"""Schemathesis against a running server: what /openapi.json allows, and what it forbids. No answer may be a 5xx.

    python -m tests.conformance.fuzz --requests 20000                              servers of its own, one per front end
    python -m tests.conformance.fuzz --requests 20000 --url http://127.0.0.1:8000

Names made up at random are refused before anything else is looked at; so most requests name a model that is there, and
most of those name its own tensors. Exit status 1 on any 5xx, on an error that is not `{"error", "code"}`, and where fewer
requests were sent than asked for.
"""

import argparse
import copy
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Err
from schemathesis.core.transport import DEFAULT_RESPONSE_TIMEOUT

from tests.conformance import zoo
from tests.conformance.servers import sameway

# Any: JSON documents.
Json = dict[str, Any]

#: How many requests of one operation come in a row, before the next operation has its turn.
_TURN = 40
#: How many turns in a row may bring nothing new before that is the end.
_EMPTY_TURNS = 200


@dataclass(slots=True)
class Figures:
    """What came of a run."""

    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return self.statuses.total()

    @property
    def server_errors(self) -> int:
        """How many of the answers were a 5xx."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        lines = [f"{self.requests} requests in {self.seconds:.0f} s, {self.server_errors} of them 5xx ({statuses})"]
        return "\n".join(lines + [f"  {count:6} {operation}" for operation, count in sorted(self.operations.items())])


def fuzz(url: str, count: int, *, seed_number: int = 0) -> Figures:
    """Send so many requests to a server and return what came of them."""
    figures = Figures()
    started = time.monotonic()
    with requests.Session() as session:
        turns = cycle(_turns(url, session))
        empty = 0
        for number, (name, operation, fixed) in enumerate(turns):
            if figures.requests >= count or empty >= _EMPTY_TURNS:
                break
            before = figures.requests
            _take_turn(figures, session, name, operation, fixed, min(_TURN, count - before), seed_number + number)
            empty = empty + 1 if figures.requests == before else 0
    figures.seconds = time.monotonic() - started
    return figures


def _turns(url: str, session: requests.Session) -> list[tuple[str, Any, Json | None]]:
    """Return operations with the path parameters they are asked with, those of inference several times over."""
    document = session.get(f"{url}/openapi.json", timeout=10).json()
    models = sorted(session.get(f"{url}/v2/models", timeout=10).json()["models"])
    ready = [name for name in models if session.get(f"{url}/v2/models/{name}/ready", timeout=10).status_code == 200]
    turns: list[tuple[str, Any, Json | None]] = []
    for name, operation in _operations(document, url):
        turns.append((name, operation, None))
        if "{model}" in name:
            turns += [(name, operation, {"model": model, "version": "1"}) for model in ready]
    for model in ready:
        metadata = session.get(f"{url}/v2/models/{model}", timeout=10).json()
        for name, operation in _operations(_of_model(document, metadata), url):
            if name.endswith("/infer"):
                turns += [(name, operation, {"model": model, "version": "1"})] * 4
    random.Random(0).shuffle(turns)
    return turns


def _of_model(document: Json, metadata: Json) -> Json:
    """Return the document with the names, datatypes and axes of one model's tensors in it, and with few values."""
    known = copy.deepcopy(document)
    schemas = known["components"]["schemas"]
    inputs, outputs = metadata["inputs"], metadata["outputs"]
    axes = max(len(spec["shape"]) for spec in inputs)
    properties = schemas["InferInput"]["properties"]
    properties["name"]["enum"] = [spec["name"] for spec in inputs]
    properties["datatype"]["enum"] = sorted({spec["datatype"] for spec in inputs})
    properties["shape"] |= {"minItems": axes, "maxItems": axes, "items": {"type": "integer", "minimum": 1, "maximum": 2}}
    properties["data"] |= {"maxItems": 4, "items": {"anyOf": [_value(spec["datatype"]) for spec in inputs[:4]]}}
    for path, operations in known["paths"].items():
        if path.endswith("/infer"):
            # Bytes behind the JSON, and the header that tells of them, come in the other turns.
            operations["post"]["parameters"] = [spec for spec in operations["post"]["parameters"] if spec["in"] == "path"]
            del operations["post"]["requestBody"]["content"]["application/octet-stream"]
    schemas["InferRequest"]["properties"]["inputs"] |= {"minItems": len(inputs), "maxItems": len(inputs)}
    schemas["InferInput"]["required"] = ["name", "shape", "datatype", "data"]
    schemas["InferOutput"]["properties"]["name"]["enum"] = [spec["name"] for spec in outputs]
    return known


def _value(datatype: str) -> Json:
    """Return the schema of one value of a datatype."""
    if datatype == "BOOL":
        return {"type": "boolean"}
    if datatype == "BYTES":
        return {"type": "string"}
    if datatype.startswith(("INT", "UINT")):
        bits = int(datatype.lstrip("UINT"))
        least, most = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return {"type": "integer", "minimum": least, "maximum": most}
    return {"type": "number"}


def _operations(document: Json, url: str) -> Iterator[tuple[str, Any]]:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    for result in schema.get_all_operations():
        if isinstance(result, Err):
            raise result.err()
        operation = result.ok()
        yield f"{operation.method.upper()} {operation.path}", operation


def _take_turn(
    figures: Figures, session: requests.Session, name: str, operation: Any, fixed: Json | None, count: int, number: int
) -> None:
    """Send up to so many requests to one operation: fewer where no more of them differ."""
    fixed = {key: value for key, value in (fixed or {}).items() if f"{{{key}}}" in name}
    strategy = st.one_of(
        *(operation.as_strategy(generation_mode=mode, path_parameters=fixed or None) for mode in GenerationMode)
    )

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        response = case.call(session=session, timeout=DEFAULT_RESPONSE_TIMEOUT)
        figures.statuses[response.status_code] += 1
        figures.operations[name] += 1
        problem = _problem(response)
        if problem is not None:
            figures.failures.append(f"{response.status_code} {problem}: {case.as_curl_command()[:2000]}")

    try:
        send()
    except Unsatisfiable:  # a parameter that cannot be wrong, as a fixed one is always right
        return


def _problem(response: Any) -> str | None:
    """Return what is wrong with an answer."""
    if response.status_code >= 500:
        return f"a server error, {response.content[:300]!r}"
    if response.status_code >= 400 and response.request.method != "HEAD":
        try:
            body = response.json()
        except ValueError:
            return f"an error that is no JSON, {response.content[:300]!r}"
        if not isinstance(body, dict) or not {"error", "code"} <= body.keys():
            return f"an error that is not as all errors are, {response.content[:300]!r}"
    elif response.status_code not in (200, 400, 403, 404, 405, 413, 414, 415, 429, 431):
        return "a status that nobody expects"
    return None


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = False
    with _servers() if arguments.url is None else nullcontext({"the server": arguments.url.rstrip("/")}) as servers:
        for name, url in servers.items():
            figures = fuzz(url, arguments.requests, seed_number=arguments.seed)
            print(f"{name}: {figures}", *figures.failures[:20], sep="\n", flush=True)  # noqa: T201 - its purpose
            failed = failed or bool(figures.failures) or figures.requests < arguments.requests
    return 1 if failed else 0


@contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """Start a server per front end, which serves the models of the suite."""
    with TemporaryDirectory() as folder:
        zoo.publish(Path(folder))
        running = {name: sameway("--repository", folder, "--frontend", name) for name in ("fastapi", "flask")}
        try:
            yield {name: process.wait().url for name, process in running.items()}
        finally:
            for process in running.values():
                process.stop()


if __name__ == "__main__":
    sys.exit(main())
