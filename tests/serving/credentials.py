"""Keys for tests: one per scope and per pair of scopes, with the texts that clients present."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from serving import keys
from serving.keys import Key, Keys, Scope

SCOPES: Mapping[str, frozenset[Scope]] = {
    "predict": frozenset({Scope.PREDICT}),
    "observe": frozenset({Scope.OBSERVE}),
    "manage": frozenset({Scope.MANAGE}),
    "all": frozenset(Scope),
}


def text_of(name: str) -> str:
    """Return the key of that name, as its holder knows it."""
    return f"sameway_{name}_{'k' * 30}"


def known(*, concurrent: int | None = None) -> Keys:
    """Return the keys as a server knows them."""
    return Keys(
        Key(name, hashlib.sha256(text_of(name).encode()).hexdigest(), scopes, concurrent) for name, scopes in SCOPES.items()
    )


def write(folder: Path, *, concurrent: int | None = None) -> Path:
    """Write the keys into a server's file, and return its path."""
    path = folder / "keys.toml"
    path.write_text("\n".join(keys.table_of(name, text_of(name), SCOPES[name], concurrent) for name in SCOPES))
    path.chmod(0o600)
    return path


def bearer(name: str) -> dict[str, str]:
    """Return the header that presents the key of that name."""
    return {"authorization": f"Bearer {text_of(name)}"}
