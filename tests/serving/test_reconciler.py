"""Workers that begin with different versions, in all the ways in which that can end."""

from models.repository import RepositoryError
from serving.block_bytes import Facts
from serving.control_plane import ControlPlane, Operation
from serving.engine.link import Message, error_to_json
from serving.errors import ModelNotReady, ServingError
from serving.reconciler import Reconciler

Versions = tuple[int, ...]


class Fleet:
    """Workers that do what they are told, each of which can open certain versions of a model."""

    def __init__(self, *serving: Versions, published: Versions = (2,), can: tuple[set[int], ...] = ()) -> None:
        self.serving = list(serving)
        self.can = can or ({1, 2, 3},) * len(serving)
        self.published = published
        self.left_out: list[Versions] = [()] * len(serving)
        self.prepared: list[Versions] = []
        self.interrupted = 0
        self._prepared: dict[int, tuple[Versions, Versions]] = {}
        self._inbox: list[tuple[int, Message]] = []
        self.plane = ControlPlane(
            {"toy": (2,)}, self._versions, {number: self._sender(number) for number in range(len(serving))}
        )
        self.reconciler = Reconciler(self.plane, self._told)

    def _sender(self, number: int):  # type: ignore[no-untyped-def]
        return lambda **message: self._inbox.append((number, message))

    def _versions(self, _: str) -> Versions:
        if not self.published:
            raise RepositoryError("no version of it is published")
        return self.published

    def _told(self) -> dict[int, list[Facts]]:
        return {
            number: [{"model": "toy", "version": str(one), "state": "READY", "identity": f"v{one}"} for one in versions]
            for number, versions in enumerate(self.serving)
        }

    def settle(self) -> None:
        """Let the workers do all that they are told."""
        self.reconciler.suspect()
        self.reconciler.look()
        while self._inbox:
            number, message = self._inbox.pop(0)
            self.plane.done(number, {"id": message["id"], **self._does(number, message)})

    def _does(self, number: int, message: Message) -> Message:
        error: ServingError | None = None
        if message["do"] == "prepare":
            versions = tuple(message["versions"])
            self.prepared.append(versions)
            self._prepared[number] = versions, tuple(message["unopened"])
            if not set(versions) <= self.can[number] | set(self.serving[number]):
                error = ModelNotReady("altered")
            elif self.interrupted:
                self.interrupted -= 1
                error = ModelNotReady("a worker ended", retry_after_seconds=1)
        elif message["do"] == "commit":
            self.serving[number], self.left_out[number] = self._prepared[number]
        elif message["do"] == "unload":
            self.serving[number] = ()
        return {"error": error_to_json(error)}


def test_workers_that_serve_the_same_are_left_alone() -> None:
    fleet = Fleet((2,), (2,))
    fleet.settle()
    assert fleet.prepared == []


def test_where_one_serves_an_older_version_all_load_what_is_wanted() -> None:
    fleet = Fleet((1,), (2,), ())
    fleet.settle()
    assert fleet.serving == [(2,), (2,), (2,)]
    assert (fleet.plane.wanted, fleet.plane.unopened) == ({"toy": (2,)}, {})


def test_where_one_cannot_open_it_all_serve_the_older_version_and_say_what_is_wanted_besides() -> None:
    fleet = Fleet((1,), (2,), can=({1}, {1, 2}))
    fleet.settle()
    assert fleet.serving == [(1,), (1,)]
    assert fleet.left_out == [(2,), (2,)]
    assert (fleet.plane.wanted, fleet.plane.unopened) == ({"toy": (1,)}, {"toy": (2,)})
    assert fleet.plane.successor(("toy",)) == ({"toy": (1,)}, {"toy": (2,)})
    fleet.can = ({1, 2}, {1, 2})
    fleet.reconciler.load_anew(["toy"])
    fleet.settle()
    assert fleet.serving == [(2,), (2,)]
    assert fleet.plane.unopened == {}


def test_of_the_versions_that_workers_serve_the_newest_that_all_can_open_is_taken() -> None:
    fleet = Fleet((1,), (2,), (3,), published=(4,))
    fleet.can = ({1, 2}, {1, 2}, {1, 2, 3})
    fleet.settle()
    assert fleet.serving == [(2,), (2,), (2,)]
    assert fleet.plane.unopened == {"toy": (4,)}


def test_where_no_version_can_be_opened_by_all_they_go_on_as_they_are(caplog) -> None:  # type: ignore[no-untyped-def]
    fleet = Fleet((1,), (2,), can=({1}, {2}))
    fleet.settle()
    assert fleet.serving == [(1,), (2,)]
    assert "event=workers_differ_still model=toy" in caplog.text


def test_what_is_wanted_may_be_unknown() -> None:
    fleet = Fleet((1,), (2,), published=())
    fleet.settle()
    assert fleet.serving == [(2,), (2,)]


def test_a_load_that_failed_by_no_fault_of_the_models_is_tried_once_more() -> None:
    fleet = Fleet((1,), (2,))
    fleet.interrupted = 1
    fleet.settle()
    assert fleet.serving == [(2,), (2,)]


def test_an_unload_that_waits_for_its_turn_is_not_undone() -> None:
    fleet = Fleet((1,), (2,), can=({1}, {1, 2}))
    answers: list[ServingError | None] = []
    fleet.reconciler.load_anew(["toy"])
    fleet.plane.ask(Operation("unload", "toy", answers.append))
    fleet.settle()
    assert fleet.serving == [(), ()]
    assert (answers, fleet.plane.wanted, fleet.plane.unopened) == ([None], {}, {})


def test_nothing_is_decided_while_a_worker_loads() -> None:
    fleet = Fleet((1,), (2,))
    fleet.plane.began_loading()
    fleet.settle()
    assert fleet.prepared == []
    fleet.plane.ended_loading()
    fleet.settle()
    assert fleet.serving == [(2,), (2,)]
