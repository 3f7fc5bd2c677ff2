"""Handshakes that never come hold so many sockets and no more, and whoever speaks TLS is served."""

import asyncio
import socket
import ssl
from pathlib import Path

from serving.frontends.handshakes import Handshakes
from serving.frontends.tls import context_of
from tests.serving import certificates
from tests.serving.sessions import PATIENCE


class Echo(asyncio.Protocol):
    """Says what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def _says(port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"hi")
        return secure.recv(2)


def test_a_socket_too_many_is_closed_at_once_and_the_others_are_not(tmp_path: Path) -> None:
    certificate, key = certificates.write(tmp_path)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        tls = context_of(certificate, key, None)
        handshakes = Handshakes(
            listener, Echo, tls, seconds=PATIENCE, crowded=lambda under_way: under_way >= 2, connections=lambda: 0
        )
        assert await asyncio.to_thread(_says, port, certificates.client(certificate)) == b"hi"
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for one in silent:
            one.setblocking(False)
        assert await asyncio.wait_for(loop.sock_recv(silent[2], 1), PATIENCE / 2) == b""
        silent[0].sendall(b"no TLS")  # what ends leaves room for the next
        while await asyncio.wait_for(loop.sock_recv(silent[0], 100), PATIENCE / 2):
            pass
        assert await asyncio.to_thread(_says, port, certificates.client(certificate)) == b"hi"
        handshakes.close()
        for open_socket in (*silent, listener):
            open_socket.close()

    asyncio.run(main())
