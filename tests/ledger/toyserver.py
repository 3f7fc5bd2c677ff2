"""A whole server of the tracer in one file: honest by itself, and made to be broken (broken.py).

It batches as servers do that mix people up: requests are gathered for a moment, answered together, and only then looked
at one by one. `answer` is the place where each of the broken ones goes wrong. In numpy and asyncio alone, so that nothing
of Sameway's own can make the judge look good.
"""

import asyncio
import contextlib
import json
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.ledger import tracer

VERSION = 3
_WINDOW_SECONDS = 0.001
_DTYPES = {"INT32": "<i4", "INT64": "<i8", "FP64": "<f8", "UINT8": "u1", "INT8": "i1", "UINT32": "<u4", "FP32": "<f4"}
_HEADER = re.compile(rb"\r\n([a-z-]+):[ \t]*([^\r]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request as it says it is; nothing of it has been checked. `values` are flat."""

    id: str | None
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[Any]  # Any: of whatever datatype the client chose
    binary_answer: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: rows for a 200, a reason for everything else. `copies` of it are sent."""

    status: int
    id: str | None = None
    rows: npt.NDArray[Any] | None = None
    reason: str = ""
    binary: bool = False
    copies: int = 1

    def to_bytes(self) -> bytes:
        """Return the HTTP answer."""
        if self.rows is None:
            body = json.dumps({"error": self.reason, "code": "invalid_input"}).encode()
            return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(body), body) * self.copies
        rows = self.rows.astype("<f4")
        output: dict[str, object] = {"name": tracer.OUTPUT, "datatype": "FP32", "shape": rows.shape}
        if not self.binary:
            output["data"] = [None if math.isnan(value) else value for value in rows.ravel().tolist()]
        named = {} if self.id is None else {"id": self.id}
        head = json.dumps({"model_name": tracer.MODEL, "model_version": str(VERSION), **named, "outputs": [output]}).encode()
        tail = rows.tobytes() if self.binary else b""
        length = b"inference-header-content-length: %d\r\n" % len(head) if self.binary else b""
        start = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n" % (self.status, len(head) + len(tail), length)
        return b"".join((start, head, tail)) * self.copies


class ToyServer:
    """An honest server. Each connection's requests are answered in order; those of all connections share batches."""

    def __init__(self) -> None:
        self._batch: list[tuple[Wish, asyncio.Future[Reply | None]]] = []
        self._conversations: set[asyncio.Task[None]] = set()

    def answer(self, batch: list[Wish]) -> list[Reply | None]:
        """Answer a batch: here, each on its own. None is no answer at all."""
        return [self.alone(wish) for wish in batch]

    def alone(self, wish: Wish) -> Reply:
        """Answer one request by what it says itself."""
        fits = wish.datatype == "FP32" and len(wish.shape) == 2 and wish.shape[1] == tracer.LANES
        if not fits or wish.values.dtype.kind != "f" or wish.values.size != math.prod(wish.shape):
            return Reply(
                400, reason=f"{wish.datatype} {wish.shape} of {wish.values.size} values is not what the model takes"
            )
        return Reply(200, wish.id, compute(wish.values), binary=wish.binary_answer)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[str, int]]:
        """Serve on a free port of this machine, in this event loop, until the block ends."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[:2]
        finally:
            server.close()
            for conversation in self._conversations:
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                wish = await _read(reader)
                reply = Reply(400, reason="not a request of this protocol") if wish is None else await self._wait(wish)
                if reply is None:
                    await reader.read()  # silence, until the client has had enough
                elif not writer.is_closing():
                    writer.write(reply.to_bytes())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    async def _wait(self, wish: Wish) -> Reply | None:
        loop = asyncio.get_running_loop()
        if not self._batch:
            loop.call_later(_WINDOW_SECONDS, self._answer_batch)
        future: asyncio.Future[Reply | None] = loop.create_future()
        self._batch.append((wish, future))
        return await future

    def _answer_batch(self) -> None:
        batch, self._batch = self._batch, []
        for (_, future), reply in zip(batch, self.answer([wish for wish, _ in batch]), strict=True):
            if not future.done():
                future.set_result(reply)


def compute(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Run the model on flat values."""
    return tracer.oracle(values.reshape(-1, tracer.LANES), VERSION)


async def _read(reader: asyncio.StreamReader) -> Wish | None:
    """Return the next request, None if its body cannot be read at all."""
    head = await reader.readuntil(b"\r\n\r\n")
    headers = {name.lower(): int(value) for name, value in _HEADER.findall(head) if value.isdigit()}
    body = await reader.readexactly(headers[b"content-length"])
    stop = headers.get(b"inference-header-content-length", len(body))
    try:
        fields = json.loads(body[:stop], parse_constant=_refuse)
        (tensor,) = fields["inputs"]
        datatype = tensor["datatype"]
        raw = np.frombuffer(body[stop:], _DTYPES[datatype]) if "data" not in tensor else np.array(tensor["data"]).ravel()
    except (ValueError, KeyError):
        return None
    wants_binary = fields.get("parameters", {}).get("binary_data_output", False)
    wish = Wish(fields.get("id"), datatype, tuple(tensor["shape"]), raw, wants_binary)
    return replace(wish, values=raw.astype(np.float64)) if datatype == "FP32" and raw.dtype.kind in "if" else wish


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
