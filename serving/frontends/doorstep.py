"""The end of a listening socket, without a reset for anybody whom the kernel has let in.

A client is connected once the kernel says so, before anything is accepted here. Whoever closes a listener resets all that
wait in it, and between the last of them that is accepted and the closing there is always time for one more: on a busy
machine, where a process may get no processor for a tenth of a second, for dozens. So first the last place in the queue is
taken by a connection of our own. As long as that waits, the kernel drops what would begin another; whoever is turned away
in this way tries again a second later, as TCP does, and is refused by then.

What is left is a client of another machine whose last word of the handshake is on its way in this very moment. A filter on
the socket would tell him from those who only begin, but takes a right (CAP_NET_ADMIN) that no server should have.
"""

import contextlib
import ipaddress
import select
import socket
import time

#: For all the clients that may come between two looks of the event loop.
BACKLOG = 2048
#: How long a connection of our own may take, and how long all of it: then the listener is closed all the same.
_CONNECT_SECONDS, _LONGEST_SECONDS = 0.05, 2.0
_LOOK_MS = 1


def open_to_all(listener: socket.socket) -> None:
    """Let as many clients wait as may, whatever a process before this one has left of the socket."""
    listener.listen(BACKLOG)


def taken(listener: socket.socket, *, last: bool) -> list[socket.socket]:
    """Return the connections that wait on a listener, and close it.

    `last`: no other process takes connections from it, so that whatever waits when it is closed is reset. Blocks for
    microseconds, on a busy machine for milliseconds. Several processes may do this at once, each of which may get a
    connection that is another's own, and at its end.
    """
    connections: list[socket.socket] = []
    with listener:
        if last:
            listener.setblocking(False)
            listener.listen(0)  # one place, besides those that are taken
            until = time.monotonic() + _LONGEST_SECONDS
            with contextlib.suppress(OSError):  # no descriptor, no way to oneself: then without the last place
                while not _take_the_last_place(listener, connections) and time.monotonic() < until:
                    pass
    return connections


def _take_the_last_place(listener: socket.socket, connections: list[socket.socket]) -> bool:
    """Accept all that wait, and be the next one; tell whether that came about, or somebody else was faster."""
    connections += _waiting(listener)
    # Closed, it waits all the same: it leaves the queue when it is accepted, or with the listener.
    with socket.socket(listener.family) as own:
        own.setblocking(False)
        own.connect_ex(_way_to(listener))
        connected = select.poll()  # select() fails from descriptor 1,024 on, which a busy server has
        connected.register(own, select.POLLOUT)
        until = time.monotonic() + _CONNECT_SECONDS
        while time.monotonic() < until:
            if connected.poll(_LOOK_MS):
                if error := own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "the listener cannot be reached")
                return True
            if others := _waiting(listener):
                connections += others
                break
    return False


def _waiting(listener: socket.socket) -> list[socket.socket]:
    connections = []
    with contextlib.suppress(OSError):  # BlockingIOError: no more wait
        while True:
            connections.append(listener.accept()[0])
    return connections


def _way_to(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    return host, port
