"""Whether the server in this container is ready, for the image's HEALTHCHECK: `python -m serving.healthcheck`.

A process of its own that asks the ready route as any client does, and knows where from the same variables that the server
reads, as serving/settings.py reads them: SAMEWAY_HOST, SAMEWAY_PORT and SAMEWAY_TLS_CERTIFICATE. Flags are not seen here,
so a container's server is told by variables.

Exit code 0: ready. 1: not, or not there; the one line printed says why. Only the standard library, for it runs every few
seconds.
"""

import http.client
import os
import re
import ssl
import sys
import threading
from collections.abc import Mapping
from typing import NamedTuple

#: Under full load an answer takes seconds. Below the image's own timeout of 8 s, so that what is printed is ours.
SECONDS = 5.0
#: Where a server that listens everywhere is asked.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


class Place(NamedTuple):
    """Where the server listens, and whether it speaks TLS there."""

    host: str
    port: int
    tls: bool


def place(environment: Mapping[str, str]) -> Place:
    """Return where the server that these variables describe listens.

    Raises ValueError, naming the variable, where there is no such server: it would refuse the same.
    """
    # The server's settings heed no case, and of several the last counts.
    variables = {name.lower(): value for name, value in environment.items()}
    port = variables.get("sameway_port", "8000")
    if re.fullmatch("[0-9]{1,5}", port) is None or not 1 <= int(port) <= 65535:
        raise ValueError(f"SAMEWAY_PORT: expected the port that the server listens on, found {port!r}")
    host = variables.get("sameway_host", "127.0.0.1")
    if not host:
        raise ValueError("SAMEWAY_HOST: expected the address that the server listens on, found ''")
    return Place(host, int(port), tls=bool(variables.get("sameway_tls_certificate")))


def problem(environment: Mapping[str, str], seconds: float = SECONDS) -> str | None:
    """Ask the server that these variables describe; return why it is not ready within the seconds, None where it is."""
    try:
        host, port, tls = place(environment)
    except ValueError as error:
        return str(error)
    host = _EVERYWHERE.get(host, host)
    found: list[str | None] = []
    # A socket's timeout is for each of its steps, and begins again with every byte. So one clock is over all of them, the
    # look-up of the name too, and what is still waited for then ends with the process.
    asking = threading.Thread(target=lambda: found.append(_ask(host, port, tls=tls)), daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else f"no answer on {host}:{port} within {seconds:g} s"


def _ask(host: str, port: int, *, tls: bool) -> str | None:
    """Return why the server there is not ready, None where it is, however long that takes."""
    connection = (
        http.client.HTTPSConnection(host, port, context=_unverified()) if tls else http.client.HTTPConnection(host, port)
    )
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer on {host}:{port}: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"not ready: {host}:{port} answered {status}"


def _unverified() -> ssl.SSLContext:
    """Return TLS for asking oneself: the certificate is of the name that others know the server by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> int:
    """Return 0 where the server is ready; print why it is not and return 1."""
    found = problem(os.environ)
    if found is None:
        return 0
    sys.stdout.write(f"{found}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
