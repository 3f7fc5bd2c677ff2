import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving import counters
from serving.counters import Counters, OutOfBlocks

ROOT = Path(__file__).parents[2]


def test_what_one_region_counts_every_reader_sees() -> None:
    shared = Counters(3)
    block = shared.region(1).block({"model": "toy"})
    block.numbers[7] = 2.5
    (reading,) = shared.read()
    assert (reading.region, reading.live, reading.facts) == (1, True, {"model": "toy"})
    assert (reading.numbers[7], sum(reading.numbers)) == (2.5, 2.5)
    assert shared.pids() == [os.getpid()]


def test_facts_change_and_numbers_stay() -> None:
    shared = Counters()
    block = shared.region(0).block({"model": "toy"})
    block.numbers[0] = 1
    block.tell(state="READY", reason="ü" * 10)
    (reading,) = shared.read()
    assert reading.facts == {"model": "toy", "state": "READY", "reason": "ü" * 10}
    assert reading.numbers[0] == 1


def test_facts_that_are_too_long_lose_their_longest_text() -> None:
    shared = Counters()
    shared.region(0).block({"model": "toy", "reason": "x" * 100_000})
    (reading,) = shared.read()
    assert reading.facts["model"] == "toy"
    assert 1_000 < len(reading.facts["reason"]) < 4_096


def test_a_freed_block_is_read_by_nobody_and_given_out_again_with_zeros() -> None:
    shared = Counters()
    region = shared.region(0)
    first = region.block({"model": "a"})
    first.numbers[3] = 9
    first.free()
    first.free()
    assert list(shared.read()) == []
    first.tell(state="READY")  # whoever still holds it changes nothing
    second = region.block({"model": "b"})
    (reading,) = shared.read()
    assert (reading.facts, reading.numbers[3]) == ({"model": "b"}, 0)
    assert not second.freed


def test_there_are_only_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "BLOCKS", 2)
    region = Counters().region(0)
    blocks = [region.block({"model": str(number)}) for number in range(2)]
    with pytest.raises(OutOfBlocks, match="2 models and versions"):
        region.block({"model": "c"})
    blocks[0].free()
    region.block({"model": "c"})


def test_adding_from_several_threads_loses_nothing() -> None:
    block = Counters().region(0).block({"model": "toy"})

    def add() -> None:
        for _ in range(5_000):
            with block.lock:
                block.numbers[0] += 1.0

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert block.numbers[0] == 20_000


_COUNTS_AND_IS_KILLED = """
import os, signal, sys
from serving import block_bytes
from serving.counters import Counters
region = Counters(descriptor=int(sys.argv[1])).region(1)
block = region.block({"model": "toy"})
block.numbers[0] = 41
def killed(*given):
    os.kill(os.getpid(), signal.SIGKILL)
block_bytes._LENGTH = type("Struct", (), {"pack_into": killed, "unpack_from": block_bytes._LENGTH.unpack_from, "size": 8})()
block.tell(state="READY")  # killed in the middle of telling its facts
"""


def test_what_a_killed_process_has_counted_is_there_and_its_successor_counts_on() -> None:
    shared = Counters.shared(2)
    assert shared.descriptor is not None
    words = [sys.executable, "-c", _COUNTS_AND_IS_KILLED, str(shared.descriptor)]
    code = subprocess.run(words, cwd=ROOT, pass_fds=[shared.descriptor]).returncode
    assert code == -signal.SIGKILL
    (reading,) = shared.read()
    assert (reading.facts, reading.numbers[0], reading.live) == ({"model": "toy"}, 41, True)
    shared.leave(1)
    assert shared.pid(1) == 0
    (reading,) = shared.read()
    assert not reading.live
    (block,) = shared.region(1).inherited()
    block.numbers[0] += 1
    (reading,) = shared.read()
    assert (reading.facts, reading.numbers[0], reading.live) == ({"model": "toy"}, 42, True)
    os.close(shared.descriptor)


def test_a_heartbeat_is_seen() -> None:
    shared = Counters(1)
    assert shared.heartbeat(0) == 0
    shared.region(0).beat(12.5)
    assert shared.heartbeat(0) == 12.5


def test_counts_that_move_are_seen_once_by_whoever_reads_meanwhile() -> None:
    shared = Counters()
    region = shared.region(0)
    blocks = [region.block({"model": name}) for name in ("a", "b")]
    blocks[0].numbers[0] = 1
    done = threading.Event()

    def move() -> None:
        for turn in range(2_000):
            with region.moving():
                blocks[turn % 2].numbers[0] -= 1
                blocks[1 - turn % 2].numbers[0] += 1
        done.set()

    mover = threading.Thread(target=move)
    mover.start()
    sums = set()
    while not done.is_set():
        sums.add(sum(reading.numbers[0] for reading in shared.read()))
    mover.join()
    assert sums <= {1.0}


def test_a_process_that_was_killed_while_it_moved_counts_stops_no_reader() -> None:
    shared = Counters()
    region = shared.region(0)
    region.block({"model": "toy"})
    region._header[3] = 1.0
    assert len(list(shared.read())) == 1
    shared.region(0)
    assert len(list(shared.read())) == 1


def test_one_that_takes_connections_before_it_has_loaded_is_waited_for() -> None:
    counters = Counters(2)
    counters.expect(1)
    assert counters.is_loading(1), "even before it is there"
    region = counters.region(1)
    assert counters.is_loading(1)
    region.loaded()
    assert not counters.is_loading(1)
    counters.region(1)
    assert not counters.is_loading(1), "its successor loads before it takes any"
    counters.expect(1)
    counters.leave(1)
    assert not counters.is_loading(1), "nobody waits for who has ended"
