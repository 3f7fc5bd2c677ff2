import threading

import pytest

from serving.frontends.threads import Threads
from tests.serving.sessions import PATIENCE


class Job:
    """Work that begins to wait, and goes on when it is let."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self.waits, self.goes_on, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> None:
        with self._threads.waiting():
            self.waits.set()
            assert self.goes_on.wait(PATIENCE)
        self.ended.set()


def test_work_is_done_in_order_by_one_thread_at_a_time() -> None:
    threads = Threads(8, name="t")
    done: list[int] = []
    at_work = 0
    most = 0
    ended = threading.Event()

    def work(number: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        done.append(number)
        at_work -= 1
        if number == 499:
            ended.set()

    for number in range(500):
        threads.submit(lambda number=number: work(number))  # type: ignore[misc]
    assert ended.wait(PATIENCE)
    assert done == list(range(500))
    assert most == 1


def test_while_one_waits_the_next_may_work() -> None:
    threads = Threads(3, name="t")
    jobs = [Job(threads) for _ in range(3)]
    for job in jobs:
        threads.submit(job)
    for job in jobs:
        assert job.waits.wait(PATIENCE)
    for job in reversed(jobs):
        job.goes_on.set()
        assert job.ended.wait(PATIENCE)


def test_as_many_as_there_are_threads_wait_and_the_next_comes_when_one_goes_on() -> None:
    threads = Threads(2, name="t")
    jobs = [Job(threads) for _ in range(3)]
    for job in jobs:
        threads.submit(job)
    assert jobs[0].waits.wait(PATIENCE)
    assert jobs[1].waits.wait(PATIENCE)
    assert not jobs[2].waits.is_set()
    jobs[0].goes_on.set()
    assert jobs[2].waits.wait(PATIENCE)
    for job in jobs[1:]:
        job.goes_on.set()
        assert job.ended.wait(PATIENCE)


def test_a_thread_that_has_slept_works_again() -> None:
    threads = Threads(2, name="t")
    for _ in range(200):
        done = threading.Event()
        threads.submit(done.set)
        assert done.wait(PATIENCE)


def test_whoever_pauses_says_so_before_it_sleeps_or_waits() -> None:
    pauses: list[str] = []
    threads = Threads(2, name="t", pauses=lambda: pauses.append(threading.current_thread().name))
    job = Job(threads)
    threads.submit(job)
    assert job.waits.wait(PATIENCE)
    assert pauses == ["t-1"]
    job.goes_on.set()
    assert job.ended.wait(PATIENCE)


def test_a_thread_that_cannot_be_made_is_told_and_the_next_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(2, name="t")
    start = threading.Thread.start

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="no thread can be made"):
        threads.submit(lambda: pytest.fail("it was given back"))
    monkeypatch.setattr(threading.Thread, "start", start)
    done = threading.Event()
    threads.submit(done.set)
    assert done.wait(PATIENCE)


def test_what_cannot_have_a_thread_of_its_own_waits_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(2, name="t")
    job = Job(threads)
    threads.submit(job)
    assert job.waits.wait(PATIENCE)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    done = threading.Event()
    threads.submit(done.set)
    job.goes_on.set()
    assert done.wait(PATIENCE)
