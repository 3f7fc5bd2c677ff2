import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import MalformedRequest
from serving.protocols.multipart import file_in

FORM = "multipart/form-data; boundary=B"
FILE = b'content-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def part(data: bytes, head: bytes = FILE) -> bytes:
    return b"--B\r\n" + head + data + b"\r\n"


def read(body: bytes, content_type: str = FORM) -> bytes:
    return file_in(content_type, body, most_parts=8)


@given(st.binary(max_size=200).filter(lambda data: b"\r\n--B" not in data))
def test_any_bytes_come_out_of_a_form_as_they_went_in(data: bytes) -> None:
    assert read(part(data) + b"--B--\r\n") == data


@pytest.mark.parametrize(
    "data", [b"\r", b"\n", b"\r\n", b"\r\n--", b"\r\n-", b"--B", b"\r\r\n\r\n", b"\r\n--A", b"\0" * 100_000]
)
def test_data_that_looks_like_a_boundary_is_data(data: bytes) -> None:
    assert read(part(data) + b"--B--\r\n") == data


@pytest.mark.parametrize(
    "content_type",
    ['multipart/form-data; boundary="B"', "Multipart/Form-Data;boundary=B", "multipart/form-data; charset=x; boundary=B"],
)
def test_the_boundary_is_found_as_clients_write_it(content_type: str) -> None:
    assert read(part(b"data") + b"--B--\r\n", content_type) == b"data"


def test_fields_before_the_file_are_passed_over_and_so_is_a_second_file() -> None:
    field = part(b"value", b'content-disposition: form-data; name="note"\r\n\r\n')
    assert read(field + part(b"first") + part(b"second") + b"--B--\r\n") == b"first"


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Type: image/png\r\nCONTENT-DISPOSITION: form-data; filename="x"\r\n\r\n',
        b'content-disposition: form-data; filename=""\r\n\r\n',
        b'content-disposition: attachment; filename="C:\\\\a\\"b.png"\r\n\r\n',
        b'content-disposition: form-data; filename="\xff\xfe"\r\n\r\n',
    ],
)
def test_a_file_is_told_by_having_a_file_name(head: bytes) -> None:
    assert read(part(b"data", head) + b"--B--\r\n") == b"data"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "a form without one"),
        (b"--B--\r\n", "a form without one"),
        (part(b"value", b'content-disposition: form-data; name="note"\r\n\r\n') + b"--B--\r\n", "a form without one"),
        (part(b"value", b"\r\n") + b"--B--\r\n", "a form without one"),
        (b"no form at all", "14 bytes"),
        (b"\0" * 50, "50 bytes"),
        (part(b"x").replace(b"\r\n", b"\n"), "bytes"),
        (part(b"x", b"content-disposition: " + b"x" * 10_000 + b"\r\n\r\n"), "bytes"),
        (part(b"x", b"a: b\r\n" * 1_000 + b"\r\n"), "bytes"),
        (part(b"x", b"a\0b: c\r\n\r\n"), "bytes"),
        (part(b"", FILE) * 9 + b"--B--\r\n", "more"),
    ],
    ids=["nothing", "only an end", "a field", "no header", "text", "zeros", "bare newlines", "long header", "many headers",
         "bad header", "nine parts"],
)  # fmt: skip
def test_a_body_that_is_no_form_with_a_file_is_malformed(body: bytes, found: str) -> None:
    with pytest.raises(MalformedRequest, match=re.escape(found)) as error:
        read(body)
    assert error.value.field == "body"
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary*=x''%ff",
        "multipart/form-data; " + "x" * 50_000,
    ],
)
def test_a_form_without_a_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedRequest) as error:
        read(part(b"data") + b"--B--\r\n", content_type)
    assert error.value.field == "content-type"
    assert len(str(error.value)) < 300


def test_a_boundary_longer_than_any_client_s_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        read(part(b"data"), "multipart/form-data; boundary=" + "B" * 5_000)


@given(st.binary(max_size=80), st.sampled_from([b"form-data; filename", b"form-data; filename*", b"x; filename*0*"]))
def test_no_header_of_a_stranger_raises_anything_else(value: bytes, name: bytes) -> None:
    body = part(b"data", b"content-disposition: " + name + b"=" + value + b"\r\n\r\n") + b"--B--\r\n"
    with contextlib.suppress(MalformedRequest):
        assert b"data" in read(body)


def test_a_million_parts_cost_no_more_than_a_few() -> None:
    body = b"--B\r\na:b\r\n\r\n\r\n" * 1_000_000
    began = time.process_time()
    with pytest.raises(MalformedRequest, match="at most 8 parts, found more"):
        read(body)
    assert time.process_time() - began < 1.0
