"""One end of the connection between a front end and the engine's process: frames over a pair of sockets, on an event loop.

The loop receives, and no thread of its own is needed, which would fight with it for the interpreter. Frames to be sent
gather until the loop's turn has ended and go in one call of the kernel: so a burst of requests arrives as one, is batched
as one, and its answers come back as one.
"""

import asyncio
import select
import socket
import threading
import time
from asyncio import events
from collections import deque
from collections.abc import Callable

from serving.wire import Buffer, Frame, Reader, WireError

#: Received at once. Requests for a small model have some kilobytes: a burst of them.
_CHUNK_BYTES = 256 * 1024
#: What the kernel may hold on its way, if it lets us: a larger frame is sent in several turns of the loop.
_KERNEL_BYTES = 4 * 1024 * 1024
#: Buffers in one call of the kernel: Linux takes 1,024.
_MOST_BUFFERS = 512


class Channel:
    """One end. Frames may be sent from any thread; they are received on the loop, where the functions given are called.

    `on_end` is called once, when the other end is gone or has sent what is no frame.
    """

    def __init__(
        self,
        end: socket.socket,
        loop: asyncio.AbstractEventLoop,
        *,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[WireError | None], None],
    ) -> None:
        """Begin to receive; called on the loop, or before it runs."""
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BYTES)
        self._end = end
        self._loop = loop
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = Reader()
        #: Frames that wait to be sent, and what is left of those that were sent in part.
        self._frames: deque[list[Buffer]] = deque()
        self._rest: list[Buffer] = []
        self._sending = threading.Lock()
        self._scheduled = False
        self._full = False
        self.closed = False
        loop.add_reader(end.fileno(), self.receive)

    def send(self, frame: list[Buffer]) -> None:
        """Send a frame when the loop's turn ends."""
        if self.closed:
            return
        self._frames.append(frame)
        if self._scheduled:
            return
        # Two threads may both come here, which is harmless; `_turn` clears the flag *before* it looks at the frames.
        self._scheduled = True
        if events._get_running_loop() is self._loop:
            self._loop.call_soon(self._turn)
        else:
            self._loop.call_soon_threadsafe(self._turn)

    def flush(self) -> None:
        """Hand to the kernel what waits, as far as it takes it; the rest is sent once there is room."""
        # Who finds another thread at it may go: that one looks once more after it has let go of the lock.
        while (self._frames or self._rest) and not self._full and not self.closed and self._sending.acquire(blocking=False):
            try:
                self._send_some()
            except OSError:
                self._frames.clear()  # nobody is there any more: the loop learns of it by reading
                self._rest = []
            finally:
                self._sending.release()

    def finish(self, seconds: float) -> None:
        """Send what waits, blocking so long at most. The loop must not run any more, or be the one that calls."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._end.fileno(), select.POLLOUT)
        self._full = False
        self.flush()
        while (self._frames or self._rest) and not self.closed and (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._full = False
            self.flush()

    def wait(self, seconds: float) -> None:
        """Block until something has come, and take it. The loop must not run."""
        poll = select.poll()
        poll.register(self._end.fileno(), select.POLLIN)
        self.finish(0.0)
        if poll.poll(seconds * 1000):
            self.receive()

    def receive(self) -> None:
        """Take what has come, without blocking."""
        if self.closed:
            return
        try:
            space = self._reader.space()
            if space is None:
                data = self._end.recv(_CHUNK_BYTES)
                size = len(data)
                frames = self._reader.take(data)
            else:
                size = self._end.recv_into(space)
                frames = self._reader.filled(size)
        except BlockingIOError:
            return
        except (OSError, WireError) as error:
            self._ended(error if isinstance(error, WireError) else None)
            return
        if not size:
            self._ended(None)
            return
        for frame in frames:
            self._on_frame(frame)

    def close(self) -> None:
        """Close this end; called on the loop, or when it does not run. `on_end` is not called any more."""
        if self.closed:
            return
        self.closed = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
        with self._sending:
            self._end.close()

    def _ended(self, error: WireError | None) -> None:
        self.close()
        self._on_end(error)

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()

    def _send_some(self) -> None:
        """Send some of what waits, in one call; raise OSError where the other end is gone."""
        if self.closed:
            return
        buffers = self._rest
        while self._frames and len(buffers) < _MOST_BUFFERS:
            buffers.extend(self._frames.popleft())
        buffers, self._rest = buffers[:_MOST_BUFFERS], buffers[_MOST_BUFFERS:]
        try:
            sent = self._end.sendmsg(buffers)
        except BlockingIOError:
            sent = 0
        if sent == sum(map(len, buffers)):
            return
        for place, buffer in enumerate(buffers):
            if sent < len(buffer):
                self._rest = [memoryview(buffer)[sent:], *buffers[place + 1 :], *self._rest]
                break
            sent -= len(buffer)
        self._full = True
        if events._get_running_loop() is self._loop:
            self._await_room()
        else:
            self._loop.call_soon_threadsafe(self._await_room)

    def _await_room(self) -> None:
        if not self.closed:
            self._loop.add_writer(self._end.fileno(), self._has_room)

    def _has_room(self) -> None:
        self._loop.remove_writer(self._end.fileno())
        self._full = False
        self.flush()
