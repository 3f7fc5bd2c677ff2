"""The end of a listening socket, without a reset for anybody whom the kernel has let in.

A client is connected once the kernel says so, before anything is accepted here. Whoever closes a listener resets all that
wait in it, and between the last of them that is accepted and the closing there is always time for one more: on a busy
machine, where a process may get no processor for a tenth of a second, for dozens. So first the queue is made short, and
filled with connections of our own. As long as those wait, the kernel drops what would begin another; whoever is turned away
in this way tries again a second later, as TCP does, and is refused by then.

Whoever had begun before that may be half in: connected, as far as he knows, while the last word of his handshake is on its
way, or found no place. The listener is closed only when there is nobody of that kind, and nobody in the queue but
ourselves; else it is open for a moment more. A filter on the socket would tell those who are half in from those who only
begin, but takes a right (CAP_NET_ADMIN) that no server should have.
"""

import contextlib
import errno
import ipaddress
import re
import select
import socket
import struct
import time
from collections.abc import Collection
from pathlib import Path

#: For all the clients that may come between two looks of the event loop.
BACKLOG = 2048
#: How long all of it may take: then the listener is closed whoever comes. A client whose first bytes found no place sends
#: them again after 0.2 s, one who says nothing is asked again after a second.
LONGEST_SECONDS = 2.0
#: How long our own connections may take. They take a millisecond, but where others want the processor.
_CONNECT_SECONDS, _LOOK_MS = 0.02, 1
#: The places in the queue. Where more are half in than there are, Linux answers with SYN cookies, of which it keeps no
#: record, and says in its log that this looks like a flood.
_PLACES = 16

#: Linux' tables of connections, and in them one to a port that is half in (SYN_RECV, which is 3).
_TABLES = tuple(Path(f"/proc/self/net/{table}") for table in ("tcp", "tcp6"))
_HALF_IN = rb":%04X [0-9A-F]+:[0-9A-F]{4} 03 "
#: Where `struct tcp_info` of a listener has how many connections wait in it: after eight single bytes and four numbers.
_WAITING = struct.Struct("=24xI")


def open_to_all(listener: socket.socket) -> None:
    """Let as many clients wait as may, whatever a process before this one has left of the socket."""
    listener.listen(BACKLOG)


def shut(listener: socket.socket, *, last: bool, whoever_comes: bool = False) -> tuple[list[socket.socket], bool]:
    """Return the connections that wait on a listener, and whether it is closed now.

    It is not while somebody is half in: then it is open, and this is to be called again in some milliseconds, after
    `LONGEST_SECONDS` with `whoever_comes`. `last`: no other process takes connections from it, so that whatever waits when
    it is closed is reset. Blocks for a few milliseconds, on a busy machine for twenty. Several processes may do this at
    once, each of which may get connections that are another's own, and at their end.
    """
    connections: list[socket.socket] = []
    if last:
        listener.setblocking(False)
        try:
            alone = (whoever_comes or not _half_in(listener)) and _take_all_places(listener, connections)
        except OSError:  # no descriptors, no way to oneself: then without places of our own
            alone, whoever_comes = False, True
        if not alone:
            connections += _waiting(listener)
        if not alone and not whoever_comes:
            open_to_all(listener)
            return connections, False
    listener.close()
    return connections, True


def _take_all_places(listener: socket.socket, connections: list[socket.socket]) -> bool:
    """Accept all that wait, and be the only one who does; tell whether that came about."""
    listener.listen(_PLACES - 1)  # Linux lets one more wait
    connections += _waiting(listener)
    with contextlib.ExitStack() as held:
        # Closed, they wait all the same: they leave the queue when they are accepted, or with the listener.
        own = [held.enter_context(socket.socket(listener.family)) for _ in range(_PLACES)]
        alone = _connect(own, listener) and not _half_in(listener) and _length(listener) == _PLACES
        if not alone:
            connections += _waiting(listener, but={one.getsockname()[1] for one in own})
    return alone


def _connect(own: list[socket.socket], listener: socket.socket) -> bool:
    """Connect all these, unless others take their places."""
    connecting = select.poll()  # select() fails from descriptor 1,024 on, which a busy server has
    sockets = {one.fileno(): one for one in own}
    for one in own:
        one.setblocking(False)
        _must_not_fail(one.connect_ex(_way_to(listener)))
        connecting.register(one, select.POLLOUT)
    until = time.monotonic() + _CONNECT_SECONDS
    while sockets and time.monotonic() < until:
        for descriptor, _ in connecting.poll(_LOOK_MS):
            connecting.unregister(descriptor)
            _must_not_fail(sockets.pop(descriptor).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if sockets and _length(listener) >= _PLACES:
            break
    return not sockets


def _must_not_fail(error: int) -> None:
    # A socket that has not begun to connect looks like one that has.
    if error not in (0, errno.EINPROGRESS):
        raise OSError(error, "the listener cannot be reached")


def _waiting(listener: socket.socket, but: Collection[int] = ()) -> list[socket.socket]:
    """Accept all that wait by now, and return them, but those that come from these ports."""
    connections = []
    with contextlib.suppress(OSError):  # BlockingIOError: another process was faster
        for _ in range(_length(listener)):  # those who come meanwhile might have no end
            connection, address = listener.accept()
            if address[1] in but:
                connection.close()
            else:
                connections.append(connection)
    return connections


def _length(listener: socket.socket) -> int:
    """Return how many connections wait."""
    (length,) = _WAITING.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.size))
    return int(length)


def _half_in(listener: socket.socket) -> bool:
    """Tell whether the kernel waits for the end of a handshake with this port; where it does not tell, it is taken as no."""
    sought = re.compile(_HALF_IN % listener.getsockname()[1])
    for table in _TABLES:
        with contextlib.suppress(OSError):
            if sought.search(table.read_bytes()):
                return True
    return False


def _way_to(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    return host, port
