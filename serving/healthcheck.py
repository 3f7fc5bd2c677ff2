"""Whether the server in this container is ready, for the image's HEALTHCHECK: `python -m serving.healthcheck`.

A process of its own that asks the ready route as any client does, and knows where from the same variables that the server
reads: SAMEWAY_HOST, SAMEWAY_PORT and SAMEWAY_TLS_CERTIFICATE. Flags are not seen here, so a container's server is told by
variables.

Exit code 0: ready. 1: not, or not there; the one line printed says why. Only the standard library, for it runs every few
seconds.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

#: Under full load an answer takes seconds. Below the image's own timeout of 8 s, so that what is printed is ours.
_TIMEOUT_SECONDS = 5.0
#: Where a server that listens everywhere is asked.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


def problem(environment: Mapping[str, str]) -> str | None:
    """Ask the server that these variables describe; return why it is not ready, None where it is."""
    given = environment.get("SAMEWAY_PORT", "8000")
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 65535:
        return f"SAMEWAY_PORT: expected the port that the server listens on, found {given!r}"
    host = environment.get("SAMEWAY_HOST", "127.0.0.1")
    host, port = _EVERYWHERE.get(host, host), int(given)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=_unverified())
        if environment.get("SAMEWAY_TLS_CERTIFICATE")
        else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    )
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
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
