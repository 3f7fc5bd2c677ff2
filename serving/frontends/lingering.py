"""A transport that closes as HTTP asks a server to (RFC 9112, section 9.6).

An answer may come before the request has been read to its end: the body is too large, or too slow. Closing the socket
at once would reset the connection, and a reset discards the answer on the client's side. So our side is closed, and
what still comes is thrown away for a while.
"""

import asyncio
import select
from collections.abc import Callable

#: Seconds for which a connection closed by us is still read: enough for a client that sends steadily to notice, little
#: enough for one that does not; nginx's lingering_timeout is the same.
_LINGER_SECONDS = 5.0


class Lingering:
    """A transport whose close() goes on reading where `reads_on` says that the client still sends."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        reads_on: Callable[[], bool],
        unsent: Callable[[], None],
    ) -> None:
        """`unsent` is called where the connection is closed and its client has yet to take what was written."""
        self._unsent = unsent
        self._transport = transport
        self._loop = loop
        self._reads_on = reads_on
        self._closed = False
        # What is called for every request goes straight to the transport.
        self.write = transport.write
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info
        self.set_protocol = transport.set_protocol
        self.abort = transport.abort

    def is_closing(self) -> bool:
        """Tell whether nothing more will be sent; what is still received is of no interest then."""
        return self._closed or self._transport.is_closing()

    def has_unsent(self) -> bool:
        """Tell whether something that was written is not sent yet."""
        return self._transport.get_write_buffer_size() > 0

    def close(self) -> None:
        """Send what has been written, then close, for reading too as soon as the client has stopped sending."""
        if self._closed:
            return
        self._closed = True
        if self.has_unsent():
            self._unsent()
        # TLS cannot close one side alone.
        if not self._reads_on() or not self._transport.can_write_eof() or self._transport.is_closing():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        # The client's own end, when it comes, closes the transport before this does.
        self._loop.call_later(_LINGER_SECONDS, self._transport.close)


def unread(transport: asyncio.Transport) -> bool:
    """Tell whether a connection has bytes, or an end, that nobody has read yet."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
