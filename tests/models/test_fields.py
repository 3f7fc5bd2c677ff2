from collections.abc import Callable

import pytest

from models import fields
from models.fields import FieldError, Fields

JUNK: list[object] = [None, True, 1, 1.5, "text", [], {}]


@pytest.mark.parametrize(
    ("read", "accepted"),
    [
        (fields.text, ["text"]),
        (fields.integer, [1]),
        (fields.count, [1]),
        (fields.number, [1, 1.5]),
        (fields.boolean, [True]),
        (fields.record, [{}]),
        (fields.sequence, [[]]),
        (fields.texts, [[]]),
        (fields.integers, [[]]),
    ],
)
def test_a_reader_takes_its_own_type_only(read: Callable[[Fields, str], object], accepted: list[object]) -> None:
    for value in JUNK:
        if any(value is one or (type(value) is type(one) and value == one) for one in accepted):
            read({"key": value}, "key")
            continue
        with pytest.raises(FieldError, match=r"^key: expected .*, found "):
            read({"key": value}, "key")
    with pytest.raises(FieldError, match=r"^key: expected .*, found None"):
        read({}, "key")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(FieldError, match="key: expected a finite number"):
        fields.number({"key": value}, "key")


def test_a_number_is_a_float() -> None:
    assert isinstance(fields.number({"key": 1}, "key"), float)


def test_a_count_is_not_negative() -> None:
    assert fields.count({"key": 0}, "key") == 0
    with pytest.raises(FieldError, match="key: expected 0 or more, found -1"):
        fields.count({"key": -1}, "key")


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(FieldError, match="key: expected a text"):
        fields.text({"key": "\ud800"}, "key")
    with pytest.raises(FieldError, match="key: expected a list of texts"):
        fields.texts({"key": ["fine", "\ud800"]}, "key")


def test_lists_are_of_one_type() -> None:
    assert fields.texts({"key": ["a", "b"]}, "key") == ("a", "b")
    assert fields.integers({"key": [1, 2]}, "key") == (1, 2)
    with pytest.raises(FieldError, match="key"):
        fields.texts({"key": ["a", 1]}, "key")
    with pytest.raises(FieldError, match="key"):
        fields.integers({"key": [1, True]}, "key")


def test_optional_is_none_where_null_or_absent() -> None:
    assert fields.optional({}, "key", fields.text) is None
    assert fields.optional({"key": None}, "key", fields.text) is None
    assert fields.optional({"key": "a"}, "key", fields.text) == "a"
    with pytest.raises(FieldError, match="key"):
        fields.optional({"key": 1}, "key", fields.text)


def test_items_name_the_place_of_an_error() -> None:
    def name(json: Fields) -> str:
        return fields.text(json, "name")

    assert fields.items({"all": [{"name": "a"}, {"name": "b"}]}, "all", name) == ("a", "b")
    with pytest.raises(FieldError, match=r"^all\[1\]\.name: expected a text, found 3"):
        fields.items({"all": [{"name": "a"}, {"name": 3}]}, "all", name)
    with pytest.raises(FieldError, match=r"^all\[0\]: expected an object"):
        fields.items({"all": ["a"]}, "all", name)


def test_a_message_stays_short() -> None:
    with pytest.raises(FieldError) as caught:
        fields.integer({"key": "x" * 10_000}, "key")
    assert len(str(caught.value)) < 200
    assert caught.value.field == "key"
