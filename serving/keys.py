"""API keys: who may ask, and for what. Read once from a TOML file that holds no key, only what a key hashes to.

    [keys.shop]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    scopes = ["predict"]
    concurrent = 16

Keys are 256 random bits, so plain SHA-256 is enough: nobody guesses them, and there is nothing a slow hash would slow
down but every honest request. `sameway key` makes them (new_key.py).
"""

import hashlib
import hmac
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS = ("sha256", "scopes", "concurrent")

#: What a key begins with, so that scanners for leaked secrets can know one.
_PREFIX = "sameway_"


class KeysError(Exception):
    """A file of keys cannot be used; the message names the key, what was found and what was expected."""


class Scope(StrEnum):
    """What a key may be good for: asking models, looking at the server, loading and unloading."""

    PREDICT = "predict"
    OBSERVE = "observe"
    MANAGE = "manage"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as the server knows it. `concurrent` is how many of its requests may be under way at once; None: any."""

    name: str
    sha256: str
    scopes: frozenset[Scope]
    concurrent: int | None = None


class Keys:
    """All keys of a server."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.all = tuple(keys)
        self._digests = tuple((bytes.fromhex(key.sha256), key) for key in self.all)

    def find(self, presented: str) -> Key | None:
        """Return the key that a client presents. Takes as long for a wrong one as for any of ours."""
        digest = hashlib.sha256(presented.encode("utf-8", "backslashreplace")).digest()
        found = None
        for known, key in self._digests:
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def grant(self, scope: Scope) -> bool:
        """Tell whether any key has this scope."""
        return any(scope in key.scopes for key in self.all)


def read(path: Path) -> Keys:
    """Return the keys in a TOML file; raise KeysError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or made to exhaust the parser
        raise KeysError(f"{path}: {error}") from error
    tables = found.pop("keys", None)
    if found:
        raise KeysError(f"{path}: expected tables [keys.<name>] only, found {next(iter(found))!r:.80}")
    if not isinstance(tables, dict) or not tables:
        raise KeysError(f"{path}: expected one or more tables [keys.<name>], found none")
    try:
        keys = [_key(name, table) for name, table in tables.items()]
        _check_distinct(keys)
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None
    return Keys(keys)


def exposed(path: Path) -> str | None:
    """Say who else may touch the file of keys, None where nobody may; hashes of random keys are no secret, but no gift."""
    mode = path.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it, and so give themselves keys"
    return "others may read it" if mode & stat.S_IROTH else None


def generate() -> str:
    """Return a new key: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def table_of(name: str, key: str, scopes: Iterable[Scope], concurrent: int | None) -> str:
    """Return the lines of TOML that let a server know a key; raise KeysError for a name that cannot be one."""
    _check_name(name)
    words = ", ".join(f'"{scope}"' for scope in scopes)
    lines = [
        f"[keys.{name}]",
        f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"',
        f"scopes = [{words}]",
        *([] if concurrent is None else [f"concurrent = {concurrent}"]),
    ]
    return "\n".join(lines) + "\n"


def scopes_of(words: Iterable[object]) -> frozenset[Scope]:
    """Return scopes by their names, at least one; raise KeysError for another word."""
    scopes = set()
    for word in words:
        try:
            scopes.add(Scope(str(word)))
        except ValueError:
            raise KeysError(f"scopes: expected some of {', '.join(Scope)}, found {word!r:.80}") from None
    if not scopes:
        raise KeysError(f"scopes: expected some of {', '.join(Scope)}, found none")
    return frozenset(scopes)


def _key(name: str, table: object) -> Key:
    """Return one key of the file; raise KeysError."""
    _check_name(name)
    if not isinstance(table, Mapping):
        raise KeysError(f"keys.{name}: expected a table, found {table!r:.80}")
    for field in table:
        if field not in _FIELDS:
            raise KeysError(f"keys.{name}: expected the fields {', '.join(_FIELDS)}, found {field!r:.80}")
    digest, words, concurrent = table.get("sha256"), table.get("scopes"), table.get("concurrent")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise KeysError(f"keys.{name}.sha256: expected 64 digits of 0-9 and a-f, found {_hidden(digest)}")
    if not isinstance(words, list):
        raise KeysError(f"keys.{name}.scopes: expected a list of {', '.join(Scope)}, found {words!r:.80}")
    if concurrent is not None and (type(concurrent) is not int or concurrent < 1):
        raise KeysError(f"keys.{name}.concurrent: expected 1 or more, found {concurrent!r:.80}")
    try:
        return Key(name, digest, scopes_of(words), concurrent)
    except KeysError as error:
        raise KeysError(f"keys.{name}.{error}") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise KeysError(f"keys: expected a name of letters, digits, '_' and '-', found {name!r:.80}")


def _check_distinct(keys: Iterable[Key]) -> None:
    names: dict[str, str] = {}
    for key in keys:
        if key.sha256 in names:
            raise KeysError(f"keys.{key.name}.sha256: expected one of its own, found that of keys.{names[key.sha256]}")
        names[key.sha256] = key.name


def _hidden(digest: object) -> str:
    """Say what stands in the place of a hash without repeating it: it may be the key itself."""
    return f"{len(digest)} characters" if isinstance(digest, str) else f"{type(digest).__name__}"
