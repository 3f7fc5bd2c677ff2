"""TLS handshakes that are counted: a client that never shakes hands is no connection yet, but holds a socket.

The event loop's own listener with TLS calls a protocol after the handshake only, so nobody could count before. This one
accepts sockets itself, and lets the event loop shake hands on each; it has what a server of asyncio's needs to be closed.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

#: How long nothing is accepted where the process has no file descriptor left; asyncio's own listeners wait as long.
_EXHAUSTED_SECONDS = 1.0


class Handshakes:
    """A listener with TLS. `crowded` tells, with so many handshakes under way, whether one more socket is too many."""

    def __init__(
        self,
        listener: socket.socket,
        edge: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        *,
        seconds: float,
        crowded: Callable[[int], bool],
    ) -> None:
        """Begin to accept."""
        listener.setblocking(False)
        self._listener = listener
        self._edge = edge
        self._context = context
        self._seconds = seconds
        self._crowded = crowded
        self._under_way: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Accept no more; handshakes that are under way go on."""
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Wait for nothing: who has not shaken hands has asked nothing, and ends with the event loop."""

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                log.error("event=not_accepted reason=%r", error.strerror)
                await asyncio.sleep(_EXHAUSTED_SECONDS)
                continue
            if self._crowded(len(self._under_way)):
                accepted.close()
                continue
            task = loop.create_task(self._shake(accepted))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _shake(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._edge, accepted, ssl=self._context, ssl_handshake_timeout=self._seconds
            )
        except OSError:  # no TLS, not in time, or gone: nobody is there to be told
            accepted.close()
