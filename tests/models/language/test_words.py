import gzip
import hashlib
import importlib.machinery
import itertools
from pathlib import Path

import msgpack
import pytest

from models.language import words
from models.spec import DataError


def write_list(folder: Path, monkeypatch: pytest.MonkeyPatch, bins: list[list[str]]) -> None:
    """Write a list of one language in a folder, as wordfreq's are, and make it the one meant."""
    packed = gzip.compress(msgpack.packb([{"format": "cB", "version": 1}, *bins]))
    (folder / "small_xx.msgpack.gz").write_bytes(packed)
    monkeypatch.setattr(words, "SHA256", {"xx": hashlib.sha256(packed).hexdigest()})


def test_every_language_has_a_list_with_its_commonest_words_first() -> None:
    lists = words.read()
    assert list(lists) == list(words.SHA256)
    assert len(lists) == 16
    for found in lists.values():
        assert len(found) > 25_000
        assert all(one.frequency >= other.frequency for one, other in itertools.pairwise(found))
        assert found[-1].frequency >= 1000  # one of a million
    assert lists["en"][0].letters == b"the"
    assert "år".encode() in {word.letters for word in lists["sv"][:200]}


def test_a_place_is_a_hundredth_of_a_power_of_ten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list(tmp_path, monkeypatch, [[], ["a"], *[[]] * 98, ["b", "c"], *[[]] * 199, ["d"]])
    found = words.read(tmp_path)["xx"]
    assert found == ((b"a", 977237221), (b"b", 100_000_000), (b"c", 100_000_000), (b"d", 1_000_000))


def test_words_of_other_than_letters_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ["ab", "straße", "über", "čeština", "ș"]
    write_list(tmp_path, monkeypatch, [[*kept, "00", "it's", "f.eks", "слово", "×", "a÷b", "🙂", "ºa", ""]])
    assert [word.letters.decode() for word in words.read(tmp_path)["xx"]] == kept


def test_an_altered_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list(tmp_path, monkeypatch, [["a"]])
    path = tmp_path / "small_xx.msgpack.gz"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=f"{path}: expected sha256 [0-9a-f]{{64}}, found [0-9a-f]{{64}}: another version"):
        words.read(tmp_path)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"small_cs\.msgpack\.gz: No such file or directory; reinstall it"):
        words.read(tmp_path)


def test_the_installed_package_is_where_lists_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.machinery.ModuleSpec("wordfreq", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(DataError, match=f"{tmp_path}/data/small_cs"):
        words.read()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="wordfreq, which is not installed: pip install wordfreq"):
        words.read()
