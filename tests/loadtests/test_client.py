"""What the client relies on in geventhttpclient, beyond what that library promises."""

import subprocess
import sys

from tests.serving.live import ROOT

#: A connection is put back; one that our own look calls dead is not given out again, and one that it calls alive is.
LOOKED_AT = """
import socket
from geventhttpclient.connectionpool import ConnectionPool
from loadtests import client
assert "_is_socket_alive" in vars(ConnectionPool)
with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
    pool = client._Pool("127.0.0.1", port, "127.0.0.1", port, size=1)
    first = pool.get_socket()
    pool.return_socket(first)
    again = pool.get_socket()
    assert again is first
    pool.return_socket(again)
    client._Poll._is_socket_alive = lambda self, sock: False
    assert pool.get_socket() is not first
"""


def test_the_library_asks_our_pool_whether_a_connection_is_alive() -> None:
    done = subprocess.run([sys.executable, "-c", LOOKED_AT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
