# ruff: noqa: T201 - printing is what is tested
"""Prints of somebody's module stay out of standard output, and do not flood standard error."""

import os

import pytest

from export.overheard import MOST_LINES, overheard


def test_prints_go_to_standard_error_and_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    print("before", flush=True)
    with overheard() as words:
        print("from Python")
        os.write(1, b"past Python\n")
        for number in range(3 * MOST_LINES):
            print("line", number)
    print("after", flush=True)
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert words.lines == 3 * MOST_LINES + 1
    assert sorted(err.splitlines()[:3]) == ["from Python", "line 0", "past Python"] or "past Python" in err
    assert err.count("\n") == MOST_LINES + 1


def test_standard_output_is_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="of the module"), overheard():
        raise ValueError("of the module")
    print("after", flush=True)
    assert capfd.readouterr() == ("after\n", "")
