import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from models.diamonds import table
from models.spec import DataError

HEADER = "carat,cut,color,clarity,depth,table,price,x,y,z"
STONE = "0.23,Ideal,E,SI2,61.5,55,326,3.95,3.98,2.43"


def parsed(*lines: str) -> table.Stones:
    return table.parse("\n".join((HEADER, *lines)).encode(), Path("diamonds.csv"))


def test_the_wheels_table_is_what_ggplot2_says_of_it() -> None:
    """Figures of R's help page `?diamonds`: 53,940 rows, prices 326 to 18,823, carat 0.2 to 5.01, y to 58.9."""
    stones = table.bundled()
    assert stones.numbers.shape == (53_940, 6)
    assert stones.grades.shape == (53_940, 3)
    assert (stones.prices.min(), stones.prices.max()) == (326, 18_823)
    numbers = dict(zip(table.NUMBERS, stones.numbers.T, strict=True))
    limits = {"carat": (0.2, 5.01), "depth": (43, 79), "table": (43, 95), "x": (0, 10.74), "y": (0, 58.9), "z": (0, 31.8)}
    for name, (least, most) in limits.items():
        assert numbers[name].min() == np.float32(least)
        assert numbers[name].max() == np.float32(most)
    fair, _, _, _, ideal = np.bincount(stones.grades[:, 0])
    assert (fair, ideal) == (1_610, 21_551)
    assert [column.max() + 1 for column in stones.grades.T] == [len(grades) for grades in table.GRADES.values()]


def test_a_row_becomes_its_numbers_grades_and_price() -> None:
    stones = parsed(STONE, "1,Fair,J,I1,60,60,5000.5,6,6,0")
    assert stones.numbers[0].tolist() == np.array([0.23, 61.5, 55, 3.95, 3.98, 2.43], np.float32).tolist()
    assert stones.grades.tolist() == [[4, 5, 1], [0, 0, 0]]
    assert stones.prices.tolist() == [326, 5000.5]
    assert [part.dtype for part in stones] == [np.float32, np.int64, np.float32]
    assert parsed(STONE, '"1","Fair","J","I1","60","60","5000.5","6","6","0"').grades.tolist() == stones.grades.tolist()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0.23,Ideal,E,SI2,61.5,55,326,3.95,3.98", "line 3: expected 10 values, found 9"),
        ("0.23,Superb,E,SI2,61.5,55,326,3.95,3.98,2.43", "line 3: cut: expected Fair, Good, Very Good, .*, found 'Superb'"),
        ("0.23,Ideal,K,SI2,61.5,55,326,3.95,3.98,2.43", "line 3: color: expected J, I, .*, found 'K'"),
        ("much,Ideal,E,SI2,61.5,55,326,3.95,3.98,2.43", "line 3: carat: expected a number, 0 or more, found 'much'"),
        ("0.23,Ideal,E,SI2,nan,55,326,3.95,3.98,2.43", "line 3: depth: expected a number, 0 or more, found 'nan'"),
        ("0.23,Ideal,E,SI2,61.5,1e39,326,3.95,3.98,2.43", "line 3: table: expected a number, 0 or more, found '1e39'"),
        ("0.23,Ideal,E,SI2,61.5,55,326,-3.95,3.98,2.43", "line 3: x: expected a number, 0 or more, found '-3.95'"),
        ("0.23,Ideal,E,SI2,61.5,55,0,3.95,3.98,2.43", "line 3: price: expected a number above 0, found '0'"),
        ('0.23,"Ideal,E,SI2,61.5,55,326,3.95,3.98,2.43', "expected a table of comma-separated values, found none"),
    ],
)
def test_a_line_that_is_no_stone_is_named(line: str, fault: str) -> None:
    with pytest.raises(DataError, match=f"^diamonds.csv: {fault}"):
        parsed(STONE, line)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "expected the header carat,cut,.*, found an empty file"),
        (b"price,carat\n1,2\n", "expected the header carat,cut,.*, found price,carat"),
        (HEADER.encode(), "expected stones below the header, found none"),
        (b"\xff\xfe", "expected a table of comma-separated values, found none"),
        (b"\x00" * 100, "expected "),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(content: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=f"^diamonds.csv: {fault}"):
        table.parse(content, Path("diamonds.csv"))


def test_a_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path}/diamonds.csv: No such file or directory; expected a table with"):
        table.of_folder(tmp_path)


def wheel(monkeypatch: pytest.MonkeyPatch, origin: Path | None) -> None:
    """Have the package plotnine lie there, or nowhere."""
    found = None if origin is None else importlib.machinery.ModuleSpec("plotnine", None, origin=str(origin))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(monkeypatch, None)
    with pytest.raises(DataError, match="expected in the package plotnine, which is not installed: pip install plotnine"):
        table.bundled()


def test_a_wheel_without_the_table_and_one_with_another_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel(monkeypatch, tmp_path / "__init__.py")
    with pytest.raises(DataError, match=r"diamonds.csv: No such file or directory; reinstall it with"):
        table.bundled()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "diamonds.csv").write_text(f"{HEADER}\n{STONE}\n")
    with pytest.raises(DataError, match=r"expected sha256 9574730b[0-9a-f]{56}, found [0-9a-f]{64}: another version"):
        table.bundled()
