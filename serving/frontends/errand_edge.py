"""The part of the HTTP edge that has a lane for requests for models (lane.py, wsgi_lane.py): an errand for each.

It puts errands in the place of uvicorn's cycles, so that they take their turns with everything else on a connection.
"""

import asyncio
import time
import urllib.parse
from collections import deque
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.frontends.errand import Errand
from serving.frontends.head import Head, RawHeaders, headers_of
from serving.frontends.shared import Process
from serving.protocols.route import HttpRequest


class ErrandEdge(HttpToolsProtocol):
    """uvicorn's protocol, in which a request may be an errand."""

    # What waits for its turn and who is at work may be errands, which stand in for uvicorn's cycles.
    cycle: Any
    pipeline: deque[Any]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: uvicorn's own type for it
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        process: Process,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._process = process
        # The request the application is working on; `cycle` is the one that was read last, which may still have to wait.
        self._active: RequestResponseCycle | Errand | None = None
        # The last head that was one for the lane, and a request that has become whole.
        self._head: Head | None = None
        self._whole: Errand | None = None
        self._idle_since = 0.0
        self._on_management = False

    def _of_the_lane(self, raw: RawHeaders) -> Head | None:
        """Return the head that was read if the lane takes it; None for one that says anything unusual."""
        lane = self._process.lane
        headers = headers_of(self.headers)
        length = headers.get("content-length", "")
        if lane is None or self.expect_100_continue or not length.isdecimal() or len(length) > 18:
            return None
        if self.parser.get_http_version() != "1.1":
            return None
        path = self.url.partition(b"?")[0].decode("latin-1")
        if "%" in path:
            path = urllib.parse.unquote(path)
        address = self.client[0] if self.client else None
        request = HttpRequest("POST", path, headers, b"", 0.0, address, on_management=self._on_management)
        return Head(self.url, raw, path, headers) if lane.takes(request, length=int(length)) else None

    def _start_errand(self, head: Head) -> None:
        """Begin a request of the lane, whose body is still to come."""
        lane = self._process.lane
        if lane is None:
            raise RuntimeError("expected a lane, as a head was found to be one for it")
        address = self.client[0] if self.client else None
        # When it began, until it is known when it was whole.
        request = HttpRequest(
            "POST", head.path, head.headers, b"", time.monotonic(), address, on_management=self._on_management
        )
        keeps = self.parser.should_keep_alive() and not self._process.stopping
        before, self.cycle = self.cycle, Errand(self, lane, head, request=request, keep_alive=keeps)
        if before is None or before.response_complete:
            self._active = self.cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _begin_whole(self) -> None:
        """Begin with the request that has become whole; not within the parser, as it may be answered at once."""
        errand, self._whole = self._whole, None
        if errand is not None and not self.transport.is_closing():
            errand.begin(time.monotonic())

    def default_lines(self) -> bytes:
        """Return the header lines that every answer has."""
        return self._process.lines_of(self.server_state.default_headers)

    def _reads_on(self) -> bool:
        """Tell whether the client is sending a request."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Go on after an answer: with the next request, if there is one, else begin to be idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = time.monotonic()
        if self.timeout_keep_alive_task is None:
            self._look_whether_idle(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if nothing has come for long; look again later if something has.

        One timer goes on as long as the connection does. One that each request cancels, and each answer sets anew, would
        cost as much as parsing the request.
        """
        self.timeout_keep_alive_task = None
        if self._reads_on() or (self.cycle is not None and not self.cycle.response_complete):
            return  # the next answer sets it again
        left = self._idle_since + self.timeout_keep_alive - time.monotonic()
        if left > 0:
            self._look_whether_idle(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_whether_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle | Errand, app: ASGI3Application) -> None:
        self._active = cycle
        if not isinstance(cycle, Errand):
            super()._start_asgi_task(cycle, app)
            return
        # The rest of its body, or its client's leaving: whoever does not read learns of neither.
        self.flow.resume_reading()
        if not cycle.more_body:
            self._whole = cycle
            self.loop.call_soon(self._begin_whole)
