"""BentoML: two worker processes, asynchronous methods, bodies taken as bytes and read with orjson.

Chosen by reading what it does with a request, not by trying all there is: its typed inputs (numpy arrays checked by
pydantic), its adaptive batching and its thread for each request were not measured here. Metrics and access log are off.
"""

import os
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from loadtests.benchmark import plain
from loadtests.benchmark.session import open_session, run


@bentoml.service(
    workers=2,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Benchmark:
    """The service."""

    def __init__(self) -> None:
        self._session = open_session(os.environ["BENCHMARK_MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]  # the package is not typed here
    async def json(self, body: bytes, /) -> Annotated[bytes, ContentType(plain.JSON_TYPE)]:
        """Answer JSON."""
        return plain.to_json(run(self._session, plain.from_json(body)))

    @bentoml.api  # type: ignore[untyped-decorator]  # the package is not typed here
    async def binary(self, body: bytes, /) -> Annotated[bytes, ContentType(plain.BINARY_TYPE)]:
        """Answer bytes."""
        return run(self._session, plain.from_bytes(body)).tobytes()
