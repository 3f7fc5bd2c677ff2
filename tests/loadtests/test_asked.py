"""Expected answers from the server itself, and what is known of servers of other kinds."""

from collections.abc import Iterator
from typing import Any

import pytest

from loadtests.asked import asked_samples
from loadtests.plan import Traffic
from loadtests.prepare import prepare
from loadtests.server import Answer, CannotRun, Server
from loadtests.weights import weights
from tests.loadtests.faulty import METADATA, Faulty, faulty


@pytest.fixture(scope="module")
def right() -> Iterator[Faulty]:
    with faulty("right") as server:
        yield server


def test_a_server_without_binary_tensors_is_asked_in_json(right: Faulty) -> None:
    samples = asked_samples(Server(right.url), "double", METADATA, count=4)
    assert len(samples) == 4
    assert {sample.case.version for sample in samples} == {"1"}
    assert samples[0].outputs["y"].shape == (1, 2)
    assert samples[0].case.random == frozenset()
    assert "asked about one sample at a time" in samples[0].case.source


def test_an_output_that_is_another_each_time_is_random(right: Faulty) -> None:
    import numpy as np

    class Dice:
        """A server that answers at random."""

        url = right.url

        def ask(self, path: str, body: bytes | None = None, headers: Any = None, **_: Any) -> Answer:
            answer = Server(right.url).ask(path, body, headers)
            if answer.status != 200:
                return answer
            value = float(np.random.default_rng().random())
            data = answer.body.split(b'"data": [')[0] + f'"data": [{value}, 1.0]}}]}}'.encode()
            return Answer(200, answer.headers, data)

    samples = asked_samples(Dice(), "double", METADATA, count=2)  # type: ignore[arg-type]
    assert samples[0].case.random == {"y"}


def test_a_model_that_takes_no_made_up_input_asks_for_a_repository(right: Faulty) -> None:
    class Picky(Server):
        def ask(self, path: str, body: bytes | None = None, headers: Any = None, **_: Any) -> Answer:
            return Answer(400, {}, b'{"error": "not like this"}')

    with pytest.raises(CannotRun, match=r"refuses generated inputs.*not like this.*--repository"):
        asked_samples(Picky(right.url), "double", METADATA, count=2)


def test_weights() -> None:
    assert weights("a", "model") == {"a": 1.0}
    assert weights("a=3, b", "model") == {"a": 3.0, "b": 1.0}
    for wrong in ("", "a,a", "a=x", "a=0", "a=-1", "=2", "a,,b", "a=nan"):
        with pytest.raises(CannotRun, match="model: expected names"):
            weights(wrong, "model")


def test_traffic_is_divided_by_models_and_payloads(right: Faulty) -> None:
    traffic, samples = prepare(Server(right.url), "double=2", "json=3,binary=1", repository=None)
    assert traffic == (Traffic("double", "json", 1.5), Traffic("double", "binary", 0.5))
    assert set(samples) == {"double"}
    for payload, told in (("smoke", "payload: expected some of"), ("content", "only a repository")):
        with pytest.raises(CannotRun, match=told):
            prepare(Server(right.url), "double", payload, repository=None)


def test_metadata_that_are_none_are_an_error(right: Faulty) -> None:
    class Odd(Server):
        def ask(self, path: str, body: bytes | None = None, headers: Any = None, **_: Any) -> Answer:
            return Answer(200, {}, b'{"hello": "world"}')

    with pytest.raises(CannotRun, match="no Open Inference Protocol server answers there"):
        Odd(right.url).metadata("double")
