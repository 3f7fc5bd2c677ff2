"""The door of a process: where the supervisor hands it the connections it is to have with other processes of the server.

A pair of sockets belongs to the two processes that have its ends and to nobody else: there is no path in the file system
that another user could find, guard, or leave behind. It cannot be opened anew from outside, so whoever replaces a process
is handed a new one, through this.
"""

import json
import socket
import struct

#: A connection's owner, as JSON: a few digits.
_WORD_BYTES = 64
_DESCRIPTOR = struct.Struct("=i")
#: Nothing waits here, and no process that is started from this one has the connection too.
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class Door:
    """One end, of a socket that keeps messages apart."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple["Door", socket.socket]:
        """Return a door for the supervisor, and the end that the process inherits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        return cls(ours), theirs

    @staticmethod
    def connect(front: "Door", engine: "Door", number: int) -> None:
        """Hand the two ends of a new connection to a front end of this number and to the engine's process."""
        ends = socket.socketpair()
        for door, end in zip((front, engine), ends, strict=True):
            with end:
                door.hand(number, end)

    def hand(self, number: int, end: socket.socket) -> None:
        """Hand a connection over. Where the process is gone, its other end learns so: it is closed."""
        try:
            socket.send_fds(self._end, [json.dumps(number).encode()], [end.fileno()])
        except OSError:
            return

    def fileno(self) -> int:
        """Return the descriptor that is readable when a connection is there."""
        return self._end.fileno()

    def take(self) -> tuple[int, socket.socket] | None:
        """Return a connection that was handed over, and the number it has; None where the supervisor is gone.

        Raise BlockingIOError where there is none.
        """
        try:
            # Not socket.recv_fds, which forgets the flags it is given.
            word, control, _, _ = self._end.recvmsg(_WORD_BYTES, socket.CMSG_SPACE(_DESCRIPTOR.size), _FLAGS)
        except ConnectionError:
            return None
        if not word or not control:
            return None
        (descriptor,) = _DESCRIPTOR.unpack_from(control[0][2])
        return int(json.loads(word)), socket.socket(fileno=descriptor)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
