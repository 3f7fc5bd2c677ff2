"""TLS for the front ends: a certificate and its key, read once at the start, and nothing below TLS 1.2."""

import ssl
from pathlib import Path


class TlsError(Exception):
    """A certificate or its key cannot be used; the message names the file and says why."""


def context_of(certificate: Path, key: Path, password: str | None) -> ssl.SSLContext:
    """Return the context of a server; the certificate's file may hold its chain too. Raise TlsError."""
    for path in (certificate, key):
        try:
            path.open("rb").close()  # here, as what ssl raises does not say which file is missing
        except OSError as error:
            raise TlsError(f"{path}: {error.strerror or error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password instead of none: OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=password or "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise TlsError(f"{certificate} and {key}: expected a certificate and its key in PEM: {reason}") from error
    return context
