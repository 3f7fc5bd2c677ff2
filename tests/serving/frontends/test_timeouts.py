import asyncio
import time
from collections.abc import Awaitable, Callable

from serving.frontends.timeouts import Timeouts
from tests.serving.sessions import PATIENCE


class One:
    def __init__(self) -> None:
        self.expired = 0.0
        self.interrupted = False

    def expire(self) -> None:
        assert not self.expired, "once is enough"
        self.expired = time.monotonic()

    def interrupt(self) -> None:
        self.interrupted = True


def on_a_loop(test: Callable[[Timeouts], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await test(Timeouts(asyncio.get_running_loop()))

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_each_expires_after_its_deadline_and_soon() -> None:
    async def test(timeouts: Timeouts) -> None:
        now = time.monotonic()
        ones = {now + seconds: One() for seconds in (0.05, 0.02, 0.0, 0.035)}
        for deadline, one in ones.items():
            timeouts.add(one, deadline)
        await until(lambda: all(one.expired for one in ones.values()))
        for deadline, one in ones.items():
            assert one.expired >= deadline
        assert sorted(ones) == sorted(ones, key=lambda deadline: ones[deadline].expired)

    on_a_loop(test)


def test_who_is_removed_does_not_expire() -> None:
    async def test(timeouts: Timeouts) -> None:
        gone, stays = One(), One()
        deadline = time.monotonic() + 0.02
        tick = timeouts.add(gone, deadline)
        timeouts.add(stays, deadline)
        timeouts.remove(gone, tick)
        timeouts.remove(gone, tick)  # as one that has ended in two ways at once
        await until(lambda: stays.expired)
        assert not gone.expired

    on_a_loop(test)


def test_nothing_is_kept_of_those_that_ended_in_time() -> None:
    async def test(timeouts: Timeouts) -> None:
        now = time.monotonic()
        for number in range(1000):
            one = One()
            timeouts.remove(one, timeouts.add(one, now + number))
        assert not timeouts._ticks

    on_a_loop(test)


def test_one_that_is_due_earlier_than_the_timer_is_not_missed() -> None:
    async def test(timeouts: Timeouts) -> None:
        late, early = One(), One()
        timeouts.add(late, time.monotonic() + 600)
        timeouts.add(early, time.monotonic() + 0.01)
        await until(lambda: early.expired)
        assert not late.expired

    on_a_loop(test)


def test_all_can_be_told_that_the_server_stops() -> None:
    async def test(timeouts: Timeouts) -> None:
        ones = [One(), One()]
        for number, one in enumerate(ones):
            timeouts.add(one, time.monotonic() + 100 + number)
        timeouts.interrupt()
        assert all(one.interrupted for one in ones)

    on_a_loop(test)
