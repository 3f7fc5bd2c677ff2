"""The tracer: its inputs name themselves exactly, its answers can be turned back, and its artifact turns as numpy does."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.backends.onnx import OnnxBackend
from tests.ledger import tracer
from tests.ledger.publish import publish
from tests.ledger.tracer import Name

requests = st.integers(0, tracer.MAX_REQUESTS - 1)
rows = st.integers(0, 63)


@given(request=requests, row=rows, seed=st.integers(0, 2**31))
def test_every_lane_is_exact_in_float32(request: int, row: int, seed: int) -> None:
    lanes = tracer.lanes(seed, request, row)
    assert np.array(lanes, np.float32).tolist() == list(lanes)
    assert max(map(abs, lanes[1:])) <= 1


@given(request=requests, row=rows, version=st.integers(1, 3))
def test_an_answer_in_float32_is_turned_back_into_its_name(request: int, row: int, version: int) -> None:
    turn, shift = tracer.weights(version)
    # As a runtime computes: every step rounded to float32.
    answer = np.array(tracer.lanes(7, request, row), np.float32) @ turn.T + shift
    assert tracer.name_of(answer, version, 7) == Name(request, row)


@given(request=requests, row=rows, lane=st.integers(0, 7), error=st.floats(1e-4, 1) | st.just(float("nan")))
def test_a_row_that_is_a_little_wrong_is_nobodys(request: int, row: int, lane: int, error: float) -> None:
    answer = tracer.oracle(tracer.lanes(7, request, row), 1)
    answer[lane] += error
    assert tracer.name_of(answer, 1, 7) is None


def test_neither_another_seed_nor_another_version_has_the_name() -> None:
    answer = tracer.oracle(tracer.lanes(7, 12, 1), 1)
    assert tracer.name_of(answer, 1, 8) is None
    assert tracer.name_of(answer, 2, 7) is None


def test_every_output_depends_on_every_input() -> None:
    turn, _ = tracer.weights(1)
    assert np.abs(turn).min() > 10 * tracer.TOLERANCE
    assert np.abs(turn @ turn.T - np.eye(tracer.LANES)).max() < 1e-6


def test_the_artifact_turns_as_the_oracle_does(tmp_path: Path) -> None:
    publish(tmp_path)
    version = publish(tmp_path)
    assert version.manifest.version == 2
    (artifact,) = version.manifest.artifacts
    session = OnnxBackend().open(version.artifact_path(artifact), version.manifest.signature, device="cpu", threads=1)
    inputs = np.array([tracer.lanes(7, 1000 * row, row) for row in range(32)], np.float32)
    outputs = session.run({tracer.INPUT: inputs})[tracer.OUTPUT]
    session.close()
    assert np.abs(outputs - tracer.oracle(inputs, 2)).max() <= tracer.TOLERANCE
