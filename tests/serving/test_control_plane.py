from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from models.repository import RepositoryError
from serving.control_plane import ControlPlane, Operation
from serving.engine.link import Message, error_to_json
from serving.errors import ModelNotReady, ServingError


class Fleet:
    """Workers that do nothing by themselves: a test says what each of them answers."""

    def __init__(self, count: int, published: dict[str, tuple[int, ...]]) -> None:
        self.published = published
        self.told: dict[int, list[Message]] = {number: [] for number in range(count)}
        self.workers: dict[int, Callable[..., object]] = {number: self._inbox(number) for number in range(count)}
        self.plane = ControlPlane({"toy": (1,)}, self._versions, self.workers)
        self.answers: list[ServingError | None] = []

    def _inbox(self, number: int) -> Callable[..., object]:
        return lambda **message: self.told[number].append(message)

    def _versions(self, model: str) -> tuple[int, ...]:
        if model not in self.published:
            raise RepositoryError("no version of it is published")
        return self.published[model]

    def ask(self, what: str, model: str = "toy") -> None:
        self.plane.ask(Operation(what, model, self.answers.append))

    def does(self, number: int, error: ServingError | None = None, opened: dict[str, str] | None = None) -> str:
        """Let a worker do the last thing it was told, and return what that was."""
        message = self.told[number][-1]
        self.plane.done(number, {"id": message["id"], "error": error_to_json(error), "opened": opened})
        return str(message["do"])

    def ends(self, number: int) -> None:
        del self.workers[number]
        self.plane.ended(number)


def test_a_load_is_prepared_by_all_before_any_commits_and_answered_when_all_have() -> None:
    fleet = Fleet(2, {"toy": (2,)})
    fleet.ask("load")
    assert fleet.told[0][-1]["versions"] == (2,)
    assert fleet.does(0) == "prepare"
    assert len(fleet.told[0]) == 1, "the other one has not prepared it yet"
    assert fleet.plane.wanted == {"toy": (1,)}
    fleet.does(1)
    assert fleet.does(0) == "commit"
    assert fleet.answers == []
    fleet.does(1)
    assert fleet.answers == [None]
    assert fleet.plane.wanted == {"toy": (2,)}


def test_if_one_cannot_none_does() -> None:
    fleet = Fleet(2, {"toy": (2,)})
    fleet.ask("load")
    fleet.does(0)
    fleet.does(1, ModelNotReady("altered"))
    assert (fleet.does(0), fleet.does(1)) == ("discard", "discard")
    assert [str(answer) for answer in fleet.answers] == ["altered"]
    assert fleet.plane.wanted == {"toy": (1,)}


def test_if_two_have_prepared_different_things_nobody_serves_them_and_it_may_be_tried_again() -> None:
    fleet = Fleet(2, {"toy": (2,)})
    fleet.ask("load")
    fleet.does(0, opened={"2": "as onnx"})
    fleet.does(1, opened={"2": "as torchscript"})
    assert (fleet.does(0), fleet.does(1)) == ("discard", "discard")
    (error,) = fleet.answers
    assert "its files changed while workers opened it" in str(error)
    assert error is not None
    assert error.retry_after_seconds == 1
    fleet.ask("load")
    for number in (0, 1):
        fleet.does(number, opened={"2": "as onnx"})
    assert (fleet.does(0), fleet.does(1)) == ("commit", "commit")


def test_a_worker_that_ends_while_it_opens_a_model_counts_as_one_that_cannot() -> None:
    fleet = Fleet(2, {"toy": (2,)})
    fleet.ask("load")
    fleet.does(0)
    fleet.ends(1)
    assert fleet.does(0) == "discard"
    assert "a worker ended" in str(fleet.answers[0])


def test_a_worker_that_ends_after_all_have_prepared_stops_nothing() -> None:
    fleet = Fleet(2, {"toy": (2,)})
    fleet.ask("load")
    fleet.does(0)
    fleet.does(1)
    fleet.ends(1)  # its successor begins with what is wanted now
    fleet.does(0)
    assert fleet.answers == [None]
    assert fleet.plane.wanted == {"toy": (2,)}


def test_nothing_begins_while_a_worker_loads() -> None:
    fleet = Fleet(1, {"toy": (2,)})
    fleet.plane.began_loading()
    fleet.ask("load")
    assert fleet.told[0] == []
    fleet.plane.ended_loading()
    assert fleet.told[0][-1]["do"] == "prepare"


def test_one_thing_after_the_other() -> None:
    fleet = Fleet(1, {"toy": (2,)})
    fleet.ask("load")
    fleet.ask("unload")
    fleet.does(0)
    fleet.does(0)
    assert fleet.answers == [None]
    assert fleet.does(0) == "unload"
    assert fleet.answers == [None, None]
    assert fleet.plane.wanted == {}


def test_a_model_without_a_version_is_prepared_by_nobody_and_counted() -> None:
    fleet = Fleet(1, {})
    fleet.ask("load")
    assert [(one["do"], one["model"]) for one in fleet.told[0]] == [("count_failure", "toy")]
    assert "no version of it is published" in str(fleet.answers[0])


def test_without_any_worker_the_next_one_finds_what_is_wanted() -> None:
    fleet = Fleet(0, {"toy": (2,)})
    fleet.ask("load")
    assert fleet.answers == [None]
    assert fleet.plane.wanted == {"toy": (2,)}


def test_an_answer_to_something_else_is_passed_over() -> None:
    fleet = Fleet(1, {"toy": (2,)})
    fleet.ask("load")
    fleet.plane.done(0, {"id": 999, "error": None})
    assert fleet.told[0][-1]["do"] == "prepare"


@given(st.lists(st.tuples(st.sampled_from(["load", "unload", "do", "fail", "end", "come"]), st.integers(0, 2)), max_size=40))
def test_whatever_happens_every_operation_is_answered_once_and_all_workers_end_alike(events: list[tuple[str, int]]) -> None:
    """Each worker's state, followed by what it is told, is what is wanted, whenever nothing is under way."""
    fleet = Fleet(3, {"toy": (2,)})
    asked = 0
    serving: dict[int, tuple[int, ...] | None] = dict.fromkeys(range(3), (1,))
    seen = dict.fromkeys(range(3), 0)

    def step(number: int, *, fails: bool) -> None:
        if number not in fleet.workers or len(fleet.told[number]) == seen[number]:
            return
        seen[number] = len(fleet.told[number])
        message = fleet.told[number][-1]
        fails = fails and message["do"] == "prepare"
        if message["do"] == "commit":
            serving[number] = (2,)
        elif message["do"] == "unload":
            serving[number] = None
        fleet.does(number, ModelNotReady("no") if fails else None)

    for event, number in events:
        if event in ("load", "unload"):
            fleet.ask(event)
            asked += 1
        elif event == "end" and number in fleet.workers:
            fleet.ends(number)
        elif event == "come" and number not in fleet.workers and not fleet.plane.may_be_missed:
            fleet.plane.began_loading()
            serving[number] = fleet.plane.wanted.get("toy")
            fleet.told[number], seen[number] = [], 0
            fleet.workers[number] = fleet._inbox(number)
            fleet.plane.ended_loading()
        else:
            step(number, fails=event == "fail")
    for _ in range(3 * (asked + 1)):
        for number in range(3):
            step(number, fails=False)
    assert len(fleet.answers) == asked
    for number in fleet.workers:
        assert serving[number] == fleet.plane.wanted.get("toy")
