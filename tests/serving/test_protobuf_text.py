"""Protobuf's text format: what its specification allows, and an error with a place for everything else."""

import math
from typing import Any

import pytest
from google.protobuf import struct_pb2, text_format
from hypothesis import given
from hypothesis import strategies as st

from serving.model_config import ConfigError
from serving.protobuf_text import Message, Word, parse


def plain(message: Message) -> dict[str, list[Any]]:  # Any: what a text may hold
    """Return a message without the places."""
    return {
        key: [
            value.content if isinstance(value.content, int | float | str | Word) else plain(value.content)
            for value in values
        ]
        for key, values in message.items()
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" # nothing\n\t", {}),
        ("a: 1", {"a": [1]}),
        ("a:1 b:2", {"a": [1], "b": [2]}),
        ("a: 1, b: 2; c: 3", {"a": [1], "b": [2], "c": [3]}),
        ("a: 1 a: 2", {"a": [1, 2]}),
        ("a: [1, 2]", {"a": [1, 2]}),
        ("a: []", {"a": []}),
        ("a: -1 b: 0x1F c: 017 d: -0x10", {"a": [-1], "b": [31], "c": [15], "d": [-16]}),
        ("a: 1.5 b: -.5 c: 1e3 d: 2f e: 3.", {"a": [1.5], "b": [-0.5], "c": [1000.0], "d": [2.0], "e": [3.0]}),
        ("a: -inf b: TYPE_FP32 c: true", {"a": [-math.inf], "b": [Word("TYPE_FP32")], "c": [Word("true")]}),
        ("a { b: 1 }", {"a": [{"b": [1]}]}),
        ("a: { b: 1 } c < d: <> >", {"a": [{"b": [1]}], "c": [{"d": [{}]}]}),
        ("a [ { b: 1 }, < b: 2 > ]", {"a": [{"b": [1]}, {"b": [2]}]}),
        ("a [{},{}] a {}", {"a": [{}, {}, {}]}),
        (
            """a: "x" 'y'  # more
             "z" """,
            {"a": ["xyz"]},
        ),
        (r"""a: "\n\t\\\"\'\?\a\x41\101\u00e9\U0001F600" """, {"a": ["\n\t\\\"'?\aAAé😀"]}),
        (r"a: '\303\251'", {"a": ["é"]}),
        ("a: '#'", {"a": ["#"]}),
    ],
)
def test_what_the_format_allows_is_read(text: str, expected: dict[str, list[Any]]) -> None:
    assert plain(parse(text, "f")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "f:1:2: expected ':' or '{', found the end of the file"),
        ("a 1", "f:1:3: expected ':' or '{', found '1'"),
        ("a:\n\n  ]", "f:3:3: expected a value, found ']'"),
        ("a: [1 2]", "f:1:7: expected ',' or ']', found '2'"),
        ("a: [1,]", "f:1:7: expected a value, found ']'"),
        ("a [1]", "f:1:4: expected '{', found '1'"),
        ("a {\n b: 1", "f:2:6: expected a field's name or '}', found the end of the file"),
        ("a < b: 1 }", "f:1:10: expected a field's name or '>', found '}'"),
        ("}", "f:1:1: expected a field's name, found '}'"),
        ("a: 09", "f:1:4: expected a number, found '09'"),
        ("a: 1x", "f:1:4: expected a name, a number, a string or a bracket, found '1'"),
        ("a: 1.2.3", "f:1:4: expected a name, a number, a string or a bracket, found '1'"),
        ("a: - b", "f:1:6: expected a value, found 'b'"),
        ("a: 'x", 'f:1:4: expected a name, a number, a string or a bracket, found "\'"'),
        ("a: 'x\ny'", "f:1:4: "),
        (r"a: '\q'", "f:1:4: expected a text in UTF-8"),
        (r"a: '\xff'", "f:1:4: expected a text in UTF-8"),
        (r"a: '\uD800'", "f:1:4: expected a text in UTF-8"),
        (r"a: '\UFFFFFFFF'", "f:1:4: expected a text in UTF-8"),
        ("[x.y]: 1", "f:1:1: expected a field's name, found '['"),
        ("é: 1", "f:1:1: expected a name"),
        ("a: " + "9" * 5000, "f:1:4: expected a number of at most 40 characters"),
        ("a {" * 1000, "expected messages at most 32 deep"),
        ("\0", "f:1:1: "),
    ],
)
def test_anything_else_is_an_error_with_line_and_column(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "f")
    assert str(error.value).startswith(message) or message in str(error.value)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


#: Junk that looks like the format: pieces of it in any order.
PIECES = st.lists(
    st.sampled_from(
        [*"{}<>[]:,;-#\n \\'\"", "a", "dims", "1", "0x", "09", "1e9", ".", "inf", "'x'", '"\\', "\\u12", "é", "\ud800"]
    )
)


@given(st.one_of(st.text(), PIECES.map("".join)))
def test_whatever_the_text_is_it_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "f")
    except ConfigError:
        return


VALUES = st.recursive(
    st.one_of(st.booleans(), st.text(), st.floats(allow_nan=False), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), st.booleans())
def test_what_protobuf_itself_writes_is_read_with_every_text_as_it_was(fields: dict[str, Any], one_line: bool) -> None:
    struct = struct_pb2.Struct()
    struct.update(fields)
    read = parse(text_format.MessageToString(struct, as_one_line=one_line), "f")
    keys = [entry.get("key", [""])[0] for entry in plain(read).get("fields", [])]
    assert sorted(keys) == sorted(fields)
