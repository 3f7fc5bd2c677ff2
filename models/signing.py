"""Signatures on manifests: a checksum says that a version is unchanged, a signature says that it is ours.

`manifest.json.sig` beside a manifest is the Ed25519 signature (RFC 8032) of its exact bytes, in base64. The manifest holds
the checksums of all other files, its model's name and its version's number, so one signature covers all of them: no file
can be exchanged, and no version can pass for another. `cryptography` is imported only where keys are.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: Signed before the manifest's bytes, so that no signature made for another purpose can pass for one of these.
_DOMAIN = b"sameway manifest signature 1\n"

#: An Ed25519 signature has 64 bytes.
_SIGNATURE_BYTES = 64
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class SigningError(Exception):
    """A key cannot be used, or a signature is missing or wrong; the message says which and why."""


class Signer:
    """Signs manifests with one private key."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    def sign(self, manifest: bytes) -> bytes:
        """Return the bytes of the signature's file."""
        return base64.b64encode(self._key.sign(_DOMAIN + manifest)) + b"\n"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures are believed, and whether a manifest must have one. One that is there must be right in any case."""

    keys: "Sequence[Ed25519PublicKey]"
    required: bool

    def check(self, manifest: bytes, signature: bytes | None) -> None:
        """Raise SigningError unless the signature is by a trusted key or, where none is required, is missing."""
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            if self.required:
                raise SigningError("expected a signature, found none")
            return
        raw = _decode(signature)
        for key in self.keys:
            try:
                key.verify(raw, _DOMAIN + manifest)
            except InvalidSignature:
                continue
            return
        raise SigningError("expected a signature of these very bytes by a trusted key, found another")


def signer(path: Path) -> Signer:
    """Return what signs with the private key in a PEM file; raise SigningError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError as missing:
        raise _lacks(missing) from None
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a password
        raise SigningError(f"{path}: expected an Ed25519 private key in PEM without a password: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: expected an Ed25519 private key, found another kind")
    return Signer(key)


def trusted_keys(path: Path) -> "list[Ed25519PublicKey]":
    """Return the public keys in a PEM file, one or several; raise SigningError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError as missing:
        raise _lacks(missing) from None
    found = []
    for block in _PUBLIC_KEY.findall(_read(path)):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SigningError(f"{path}: expected Ed25519 public keys in PEM: {error}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise SigningError(f"{path}: expected Ed25519 public keys, found another kind")
        found.append(key)
    if not found:
        raise SigningError(f"{path}: expected one or more Ed25519 public keys in PEM, found none")
    return found


def _lacks(missing: ModuleNotFoundError) -> SigningError:
    return SigningError(f"signatures need the package {missing.name!r}: pip install 'sameway[signing]'")


def _decode(signature: bytes) -> bytes:
    """Return the raw signature; raise SigningError for anything but its one spelling."""
    try:
        raw = base64.b64decode(signature.removesuffix(b"\n"), validate=True)
    except (binascii.Error, ValueError):
        raise SigningError("expected a signature in base64, found something else") from None
    # Base64 has bits to spare in its last character, which would give one signature several spellings.
    if len(raw) != _SIGNATURE_BYTES or base64.b64encode(raw) + b"\n" != signature:
        raise SigningError(f"expected a signature of {_SIGNATURE_BYTES} bytes in base64, found something else")
    return raw


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: {error.strerror or error}") from error
