import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.repository import Repository
from serving import wire
from serving.engine import messages
from serving.engine.base import ModelStatus, State
from serving.engine.local import LocalEngine
from serving.errors import all_errors
from serving.metrics import Metrics
from serving.request import InferRequest, InferResponse, Timings
from serving.wire import Buffer, Frame, Reader, WireError
from tests import toys
from tests.serving.sessions import PATIENCE


def crossed(frame: list[Buffer]) -> Frame:
    (found,) = Reader().take(b"".join(frame))
    return found


SECONDS = st.floats(0, 1e6)


@given(st.builds(Timings, SECONDS, SECONDS, SECONDS, SECONDS, SECONDS), st.integers(1, 10**18), st.booleans())
def test_an_answer_comes_back_to_the_last_bit(timings: Timings, version: int, verified: bool) -> None:
    outputs = {"y": np.arange(3.0), "x": np.array(["é"], dtype=object)}
    sent = InferResponse("m", version, "sha256:0", outputs, "id", timings, 3, verified)
    _, _, head, data = crossed(messages.answer_frame(1, sent))
    found = messages.answer_of(head, data, "id")
    assert list(found.outputs) == ["y", "x"]
    assert dataclasses.replace(found, outputs={}) == dataclasses.replace(sent, outputs={})


@pytest.mark.parametrize("outputs", [None, (), ("b", "a")])
@pytest.mark.parametrize("version", [None, 3])
def test_a_request_comes_back_without_its_id_and_with_the_time_that_is_left(
    outputs: tuple[str, ...] | None, version: int | None
) -> None:
    sent = InferRequest("m", version, {"x": np.arange(4)}, outputs, "id", 110.5, 2)
    _, _, head, data = crossed(messages.request_frame(1, sent, 100.0))
    found = messages.request_of(head, data, 1000.0)
    assert found.inputs["x"].tolist() == [0, 1, 2, 3]
    assert dataclasses.replace(found, inputs={}) == dataclasses.replace(sent, inputs={}, id=None, deadline=1010.5)


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.code)
def test_every_error_comes_back_as_what_it_was(kind: Any) -> None:
    sent = kind("é\n", field="f", expected="e", found="x", retry_after_seconds=7)
    _, _, head, _ = crossed(messages.error_frame(1, sent))
    found = messages.error_of(head)
    assert (type(found), str(found), vars(found)) == (kind, "é\n", vars(sent))


def test_states_come_back_and_a_file_name_that_is_no_text_is_told_in_letters() -> None:
    sent = [ModelStatus("m", None, State.LOADING, "a \udcff", None), ModelStatus("m", 3, State.READY, "", True)]
    _, _, head, _ = crossed(messages.status_frame("m", sent))
    assert messages.statuses_of(head) == ("m", {None: ModelStatus("m", None, State.LOADING, "a \\udcff"), 3: sent[1]})


def test_what_is_served_comes_back(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("versions = [1]\nqueue_rows = 99\ntimeout_seconds = 7")
    engine = LocalEngine(Repository(tmp_path), Metrics())
    engine.load_all()
    sent = engine.metadata("toy"), engine.config("toy")
    engine.close(drain_seconds=PATIENCE)
    _, number, head, data = crossed(messages.served_frame(5, "toy", {1: sent}))
    model, served = messages.served_of(head, data)
    assert (number, model, list(served)) == (5, "toy", [1])
    np.testing.assert_array_equal(served[1][0].example["image"], sent[0].example["image"])
    assert dataclasses.replace(served[1][0], example={}) == dataclasses.replace(sent[0], example={})
    assert served[1][1] == sent[1]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=7), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=12,
)


@given(JSON, st.binary(max_size=48))
@settings(max_examples=400)
def test_a_head_that_is_none_ends_in_one_error(head: Any, data: bytes) -> None:
    body = memoryview(data)
    for read in (
        lambda: messages.request_of(head, body, 0.0),
        lambda: messages.answer_of(head, body, None),
        lambda: messages.error_of(head),
        lambda: messages.statuses_of(head),
        lambda: messages.served_of(head, body),
        lambda: messages.server_of(head),
        lambda: wire.tensors_of(head, body),
    ):
        with contextlib.suppress(WireError):
            read()
