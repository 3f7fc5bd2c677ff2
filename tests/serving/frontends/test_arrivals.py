import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from serving.engine.answer import Answer
from serving.frontends.arrivals import Arrivals, Ending
from serving.request import InferResponse, Timings
from tests.serving.sessions import PATIENCE

Wanted = Answer[InferResponse]
RESPONSE = InferResponse("toy", 1, "", {"y": np.zeros(1)}, None, Timings(0, 0, 0, 0))


class Client:
    """Stands for the edge: can leave, and remembers whether anybody still watches it."""

    def __init__(self) -> None:
        self.leaves: Callable[[], None] | None = None

    def watch(self, leaves: Callable[[], None]) -> Callable[[], None]:
        self.leaves = leaves

        def unwatch() -> None:
            self.leaves = None

        return unwatch


def soon() -> float:
    return time.monotonic() + PATIENCE


def test_an_answer_from_another_thread_wakes_who_waits() -> None:
    async def main() -> None:
        future, client = Wanted(), Client()
        threading.Timer(0.01, future.set_result, [RESPONSE]).start()
        assert await Arrivals(asyncio.get_running_loop()).wait(future, soon(), client.watch) is Ending.ANSWERED
        assert client.leaves is None

    asyncio.run(main())


def test_an_answer_that_is_there_already_is_not_waited_for() -> None:
    async def main() -> None:
        future = Wanted()
        future.set_result(RESPONSE)
        ending = await Arrivals(asyncio.get_running_loop()).wait(future, 0.0, Client().watch)
        assert ending in (Ending.ANSWERED, Ending.EXPIRED)
        assert await Arrivals(asyncio.get_running_loop()).wait(future, soon(), Client().watch) is Ending.ANSWERED

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.02])
def test_the_deadline_ends_the_wait(seconds: float) -> None:
    async def main() -> None:
        client = Client()
        began = time.monotonic()
        ending = await Arrivals(asyncio.get_running_loop()).wait(Wanted(), began + seconds, client.watch)
        assert (ending, client.leaves) == (Ending.EXPIRED, None)
        assert time.monotonic() - began < PATIENCE / 2

    asyncio.run(main())


def test_a_client_that_leaves_ends_the_wait() -> None:
    async def main() -> None:
        client = Client()
        arrivals = Arrivals(asyncio.get_running_loop())
        task = asyncio.create_task(arrivals.wait(Wanted(), soon(), client.watch))
        await asyncio.sleep(0)
        assert client.leaves is not None
        client.leaves()
        client.leaves()  # a second time does nothing
        assert await task is Ending.CLIENT_LEFT

    asyncio.run(main())


def test_the_first_ending_counts() -> None:
    async def main() -> None:
        client, future = Client(), Wanted()
        task = asyncio.create_task(Arrivals(asyncio.get_running_loop()).wait(future, soon(), client.watch))
        await asyncio.sleep(0)
        assert client.leaves is not None
        client.leaves()
        future.set_result(RESPONSE)
        assert await task is Ending.CLIENT_LEFT

    asyncio.run(main())


def test_whoever_stops_waiting_leaves_no_timer_and_no_watch() -> None:
    async def main() -> None:
        client = Client()
        task = asyncio.create_task(Arrivals(asyncio.get_running_loop()).wait(Wanted(), soon(), client.watch))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.leaves is None

    asyncio.run(main())


def test_answers_of_a_batch_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        arrivals = Arrivals(loop)
        futures = [Wanted() for _ in range(100)]
        tasks = [asyncio.create_task(arrivals.wait(future, soon(), Client().watch)) for future in futures]
        await asyncio.sleep(0)
        woken: list[object] = []
        real = loop.call_soon_threadsafe

        def count(*arguments: object) -> asyncio.Handle:
            woken.append(arguments)
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", count)

        def answer() -> None:
            for future in futures:
                future.set_result(RESPONSE)

        instance = threading.Thread(target=answer)
        instance.start()
        instance.join()  # the loop sleeps meanwhile, as it is this very thread
        assert len(woken) == 1
        assert set(await asyncio.gather(*tasks)) == {Ending.ANSWERED}

    asyncio.run(main())


def test_none_of_many_answers_from_many_threads_is_missed() -> None:
    async def main() -> None:
        arrivals = Arrivals(asyncio.get_running_loop())
        futures = [Wanted() for _ in range(2_000)]

        def answer(share: int) -> None:
            for future in futures[share::4]:
                future.set_result(RESPONSE)

        threads = [threading.Thread(target=answer, args=(share,)) for share in range(4)]
        waits = [asyncio.create_task(arrivals.wait(future, soon(), Client().watch)) for future in futures]
        for thread in threads:
            thread.start()
        endings = await asyncio.wait_for(asyncio.gather(*waits), PATIENCE)
        assert endings == [Ending.ANSWERED] * len(futures)
        for thread in threads:
            thread.join()

    asyncio.run(main())


def test_an_answer_after_the_loop_has_ended_harms_nobody() -> None:
    future = Wanted()

    async def main() -> None:
        client = Client()
        task = asyncio.create_task(Arrivals(asyncio.get_running_loop()).wait(future, soon(), client.watch))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    future.set_result(RESPONSE)
    assert future.result(0) is RESPONSE
