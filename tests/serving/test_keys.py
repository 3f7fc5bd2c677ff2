"""The file of keys: what it may say, and that a key is found by what it hashes to and by nothing else."""

import hashlib
from pathlib import Path

import pytest

import cli
from serving import keys
from serving.keys import KeysError, Scope

A, B = "a" * 64, "b" * 64


def read(tmp_path: Path, text: str) -> keys.Keys:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return keys.read(path)


def test_a_key_is_found_by_what_it_hashes_to(tmp_path: Path) -> None:
    digest = hashlib.sha256("größer".encode()).hexdigest()
    found = read(
        tmp_path, f'[keys.a]\nsha256="{digest}"\nscopes=["predict", "manage"]\n[keys.b]\nsha256="{B}"\nscopes=["observe"]'
    )
    key = found.find("größer")
    assert key is not None
    assert (key.name, set(key.scopes), key.concurrent) == ("a", {Scope.PREDICT, Scope.MANAGE}, None)
    for wrong in ("", "größe", "größer ", "GRÖSSER", digest, "\0", "\ud800"):
        assert found.find(wrong) is None
    assert found.grant(Scope.OBSERVE)
    assert not keys.Keys([key]).grant(Scope.OBSERVE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected one or more tables"),
        ("keys = 3", "expected one or more tables"),
        ("[keys]", "expected one or more tables"),
        ("[key.a]", "found 'key'"),
        ("[keys.a", "keys.toml: "),
        ("x = " + "[" * 5000, "keys.toml: "),
        ("[keys]\na = 3", "keys.a: expected a table"),
        (f'[keys."a b"]\nsha256="{A}"\nscopes=["predict"]', "expected a name of letters"),
        (f'[keys.a]\nsha256="{A}"\nscopes=["predict"]\nscope="x"', "found 'scope'"),
        ('[keys.a]\nscopes=["predict"]', "keys.a.sha256: expected 64 digits of 0-9 and a-f, found NoneType"),
        (f'[keys.a]\nsha256="{A[:-1]}g"\nscopes=["predict"]', "found 64 characters"),
        (f'[keys.a]\nsha256="{A.upper()}"\nscopes=["predict"]', "found 64 characters"),
        (f'[keys.a]\nsha256="{A}\\n"\nscopes=["predict"]', "found 65 characters"),
        (f'[keys.a]\nsha256="{A}"', "keys.a.scopes: expected a list"),
        (f'[keys.a]\nsha256="{A}"\nscopes="predict"', "keys.a.scopes: expected a list"),
        (f'[keys.a]\nsha256="{A}"\nscopes=[]', "keys.a.scopes: expected some of predict, observe, manage, found none"),
        (f'[keys.a]\nsha256="{A}"\nscopes=["Predict"]', "found 'Predict'"),
        (f'[keys.a]\nsha256="{A}"\nscopes=[1]', "found 1"),
        (f'[keys.a]\nsha256="{A}"\nscopes=["predict"]\nconcurrent=0', "keys.a.concurrent: expected 1 or more, found 0"),
        (f'[keys.a]\nsha256="{A}"\nscopes=["predict"]\nconcurrent=true', "found True"),
        (
            f'[keys.a]\nsha256="{A}"\nscopes=["predict"]\n[keys.b]\nsha256="{A}"\nscopes=["manage"]',
            "keys.b.sha256: expected one of its own, found that of keys.a",
        ),
    ],
)
def test_a_wrong_file_is_refused_by_the_place_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(KeysError) as error:
        read(tmp_path, text)
    assert words in str(error.value)


def test_a_key_written_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(KeysError) as error:
        read(tmp_path, '[keys.a]\nsha256="sameway_secret"\nscopes=["predict"]')
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("mode", "words"), [(0o600, None), (0o640, None), (0o644, "read"), (0o660, "write"), (0o602, "write")]
)
def test_a_file_that_others_may_touch_is_told(tmp_path: Path, mode: int, words: str | None) -> None:
    path = tmp_path / "keys.toml"
    path.touch()
    path.chmod(mode)
    found = keys.exposed(path)
    assert (found is None) if words is None else (words in (found or ""))


def test_a_new_key_is_known_to_the_file_it_was_added_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.toml"
    made = {}
    for name, flags in {
        "shop": ["--scopes", "predict", "--concurrent", "3"],
        "ops": ["--scopes", "manage, observe"],
    }.items():
        assert cli.main(["key", name, *flags, "--keys", str(path)]) == 0
        made[name] = capsys.readouterr().out.strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key in path.read_text() for key in made.values())
    assert len(set(made.values())) == 2
    known = keys.read(path)
    found = [key for key in map(known.find, made.values()) if key is not None]
    assert [(key.name, set(key.scopes), key.concurrent) for key in found] == [
        ("shop", {Scope.PREDICT}, 3),
        ("ops", {Scope.OBSERVE, Scope.MANAGE}, None),
    ]


def test_without_a_file_the_lines_are_printed_and_the_key_is_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["key", "shop", "--scopes", "predict"]) == 0
    shown = capsys.readouterr()
    found = read(tmp_path, shown.out).find(shown.err.strip())
    assert found is not None
    assert found.name == "shop"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a b", "--scopes", "predict"], "expected a name"),
        (["a", "--scopes", "admin"], "found 'admin'"),
        (["a", "--scopes", ""], "found ''"),
        (["a", "--scopes", "predict", "--concurrent", "0"], "concurrent: expected 1 or more, found 0"),
        (["a", "--scopes", "predict", "--keys", "/nowhere/keys.toml"], "No such file"),
    ],
)
def test_a_key_that_cannot_be_made_is_one_line_and_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["key", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("sameway key: ")
    assert complaint in shown.err


def test_a_name_is_given_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.toml"
    assert cli.main(["key", "a", "--scopes", "predict", "--keys", str(path)]) == 0
    before = path.read_text()
    assert cli.main(["key", "a", "--scopes", "manage", "--keys", str(path)]) == 2
    assert path.read_text() == before
    assert "keys.a is there already" in capsys.readouterr().err
