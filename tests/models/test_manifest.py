import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any  # JSON that the tests bend out of shape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.manifest import SCHEMA, Manifest, ManifestError
from tests.models import factory

#: Fields that manifests did not have at first; those without them are still read.
LATER = {
    "notes", "edges", "before_last", "task", "random", "max_ulp", "min_cosine", "floor_float64", "floor_alone", "floor_ulp",
    "atol", "rtol",
}  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return replace(factory.fill(tmp_path_factory.mktemp("staged")), version=3)


def facts_of(manifest: Manifest) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(manifest.to_bytes())
    return facts


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value inside a JSON document."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(facts: dict[str, Any], path: tuple[str | int, ...], value: object) -> bytes:
    facts = copy.deepcopy(facts)
    place: Any = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(facts).encode()


def without(facts: dict[str, Any], path: tuple[str | int, ...]) -> bytes:
    facts = copy.deepcopy(facts)
    place: Any = facts
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return json.dumps(facts).encode()


def named(path: tuple[str | int, ...]) -> str:
    """Return the word of the path that a message about it must hold: its last name."""
    return [key for key in path if isinstance(key, str)][-1]


def test_a_manifest_of_before_is_read(manifest: Manifest) -> None:
    facts = facts_of(manifest)
    for path in reversed(list(places(facts))):
        if path[-1] in LATER:
            facts = json.loads(without(facts, path))
    read = Manifest.from_bytes(json.dumps(facts).encode()).artifacts[0]
    assert read.parity.notes == ()
    assert read.random == frozenset()
    assert [output.max_ulp for output in read.parity.outputs] == [None, None]


def test_it_comes_back_as_it_was(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_same_manifest_gives_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    assert manifest.to_bytes() == replace(manifest).to_bytes()
    assert manifest.to_bytes() == Manifest.from_bytes(manifest.to_bytes()).to_bytes()


def test_what_may_be_absent_is_none(manifest: Manifest) -> None:
    origin = replace(manifest.origin, commit=None, dirty=None)
    bare = replace(manifest, content=None, origin=origin)
    assert Manifest.from_bytes(bare.to_bytes()) == bare


def test_a_report_passes_if_every_output_does(manifest: Manifest) -> None:
    report = manifest.artifacts[0].parity
    assert report.passed
    failed = replace(report.outputs[1], passed=False)
    assert not replace(report, outputs=(report.outputs[0], failed)).passed


def test_every_field_of_another_type_is_named(manifest: Manifest) -> None:
    facts = facts_of(manifest)
    optional: set[tuple[str | int, ...]] = {("content",), ("origin", "commit"), ("origin", "dirty")}
    optional |= {path for path in places(facts) if path[-1] in LATER | {"equal_decisions"}}
    free = ("origin", "recipe")
    tried = 0
    for path in places(facts):
        if path[:2] == free and len(path) > 2:
            continue  # a recipe's values are the recipe's
        for junk in ({"odd": "object"}, ["odd"], True, None, "odd", 1.5):
            value: Any = facts
            for key in path:
                value = value[key]
            # A text for a text, an object for an object and so on may be read; wrong facts are not this file's to find.
            if type(junk) is type(value) or (junk == 1.5 and isinstance(value, int | float)):
                continue
            if junk is None and (path in optional or path[-2:-1] == ("shape",)):
                continue
            if junk == 1.5 and path in optional:
                continue
            with pytest.raises(ManifestError, match=rf"manifest\.json: .*{named(path)}"):
                Manifest.from_bytes(changed(facts, path, junk))
            tried += 1
    assert tried > 200


def test_every_field_that_is_missing_is_named(manifest: Manifest) -> None:
    facts = facts_of(manifest)
    free = {"recipe", "scores", "libraries", "tolerance"}  # objects whose keys are data
    optional = {"content", "commit", "dirty", "equal_decisions"} | LATER
    for path in places(facts):
        if isinstance(path[-1], int) or path[-1] in optional or free & set(path[:-1]):
            continue
        with pytest.raises(ManifestError, match=rf"manifest\.json: .*{path[-1]}"):
            Manifest.from_bytes(without(facts, path))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), SCHEMA + 1, f"schema: expected {SCHEMA}, found {SCHEMA + 1}"),
        (("version",), -1, "version: expected 0 or more"),
        (("signature", "max_batch_size"), -1, "max_batch_size"),
        (("signature", "inputs"), [], "inputs: expected one or more tensors"),
        (("signature", "inputs", 0, "datatype"), "FP8", r"inputs\[0\]\.datatype"),
        (("signature", "inputs", 0, "shape"), [-1], r"inputs\[0\]\.shape"),
        (("content", "output", "labels"), ["a", "b", "c"], "content: scores"),
        (("content", "input", "width"), 5, "content: image"),
        (("artifacts", 0, "size_bytes"), -5, r"artifacts\[0\]\.size_bytes"),
        (("artifacts", 0, "tolerance", "scores"), float("nan"), r"artifacts\[0\]\.scores: expected a finite number"),
        (("artifacts", 0, "tolerance", "scores"), 10**400, "expected a finite number"),
        (("artifacts", 0, "parity", "batch_sizes"), [1, 2.5], r"artifacts\[0\]\.batch_sizes"),
        (("origin", "scores", "accuracy"), float("inf"), "accuracy: expected a finite number"),
        (("model",), "\ud800", "model: expected a text"),
        (("origin", "recipe", "epochs"), float("nan"), "recipe: expected finite numbers and whole texts"),
        (("origin", "libraries"), {"\ud800": "1"}, "libraries: expected finite numbers and whole texts"),
    ],
)
def test_facts_that_cannot_be_are_refused(
    manifest: Manifest, path: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_bytes(changed(facts_of(manifest), path, value))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"text"', b"[" * 100_000, b"1" * 5000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^manifest\.json"):
        Manifest.from_bytes(data)


def test_a_manifest_cut_short_anywhere_is_refused(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    for length in range(0, len(data) - 2, 13):
        with pytest.raises(ManifestError):
            Manifest.from_bytes(data[:length])


@given(st.data())
def test_any_value_anywhere_is_read_or_refused(manifest: Manifest, data: st.DataObject) -> None:
    facts = facts_of(manifest)
    path = data.draw(st.sampled_from(list(places(facts))))
    bent = changed(facts, path, data.draw(json_values))
    try:
        read = Manifest.from_bytes(bent)
    except ManifestError:
        return
    assert read.model == read.model.encode().decode()


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_bytes(data)
