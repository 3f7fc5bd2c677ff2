"""The end of a listening socket, without a reset for anybody whom the kernel has let in.

A client is connected once the kernel says so, before anything is accepted here. Whoever closes a listener resets all that
wait in it, and between the last of them that is accepted and the closing there is always time for one more: on a busy
machine, where a process may get no processor for a tenth of a second, for dozens. So first no new ones are let in: a filter
on the socket drops what would begin a connection, and nothing else. Who is turned away in this way tries again a second
later, as TCP does, and is refused by then.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

#: For connections that were begun before: their clients' last word is on its way. As long as it takes round half the world.
_UNDER_WAY_SECONDS = 0.1

# include/uapi/asm-generic/socket.h, which Python's socket module does not know.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_FLAGS, _SYN, _SYN_ACK = 13, 0x02, 0x12
#: Classic BPF (linux/filter.h): code, jump if true, jump if false, operand. A TCP socket's filter sees the TCP header first.
_NO_NEW_ONES = (
    (0x30, 0, 0, _FLAGS),  # load the byte of flags
    (0x54, 0, 0, _SYN_ACK),  # and
    (0x15, 0, 1, _SYN),  # if it is SYN alone: the next, else the one after
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)


def open_to_all(listener: socket.socket) -> None:
    """Let new connections in, whatever a process before this one has left on the socket."""
    with contextlib.suppress(OSError):  # there is no filter
        listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


async def shut(listeners: Sequence[socket.socket]) -> None:
    """Let no new connection in, for any process that has the sockets, and return when those under way have arrived."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_NEW_ONES)
    memory = ctypes.create_string_buffer(program, len(program))
    for listener in listeners:
        with contextlib.suppress(OSError):  # a kernel without filters: the way it was before there were any
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_NEW_ONES), ctypes.addressof(memory))
            )
    await asyncio.sleep(_UNDER_WAY_SECONDS)


def taken(listener: socket.socket) -> list[socket.socket]:
    """Return the connections that wait on a listener, and close it as soon as none does."""
    listener.setblocking(False)
    connections = []
    with listener, contextlib.suppress(OSError):  # BlockingIOError: no more wait
        while True:
            connections.append(listener.accept()[0])
    return connections
