"""Lines to a descriptor: in order, whole, and never at the cost of whoever has them."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import line_writer
from serving.line_writer import LineWriter
from tests.serving.sessions import PATIENCE


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        os.close(descriptor)


def test_lines_are_written_in_their_order_and_all_of_them_by_the_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        dropped: list[int] = []
        writer = LineWriter(file.fileno(), dropped=dropped.append)
        for number in range(5000):
            writer.put(b"%d\n" % number)
        writer.close()
    assert (tmp_path / "log").read_bytes().split() == [b"%d" % number for number in range(5000)]
    assert sum(dropped) == 0


def test_a_line_is_there_soon_without_another_one_after_it(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for line in (b"one\n", b"two\n"):
        writer.put(line)
        assert os.read(pipe[0], 100) == line
    writer.close()


def test_pieces_are_as_large_as_a_pipe_takes_without_tearing(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    writer.close()
    writer._lines.extend([b"x" * 1500] * 3 + [b"y" * 9000])
    assert [len(writer._take()) for _ in range(3)] == [2, 1, 1]


def test_a_reader_that_does_not_read_costs_lines_and_nothing_else(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_CLOSE_SECONDS", 0.01)
    dropped: list[int] = []
    writer = LineWriter(pipe[1], dropped=dropped.append)
    for _ in range(20_000):  # 10 MB, into a pipe of 64 KiB
        writer.put(b"x" * 499 + b"\n")
    assert 20_000 - 8192 - 131 - 8 <= sum(dropped) < 20_000
    writer.close()  # gives up in time; the thread goes on until the reader has come
    left = (20_000 - sum(dropped)) * 500
    while left:
        left -= len(os.read(pipe[0], 1 << 20))
    writer._thread.join(PATIENCE)
    assert not writer._thread.is_alive()


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    dropped: list[int] = []
    writer = LineWriter(pipe[1], dropped=dropped.append)
    for _ in range(1000):
        writer.put(b"x" * 499 + b"\n")
    received = 0
    while received < 500_000:
        received += len(os.read(pipe[0], 1 << 20))
    writer.close()
    assert sum(dropped) == 0


def test_a_descriptor_that_cannot_be_written_is_reported_once_and_its_lines_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read, write = os.pipe()
    os.close(read)
    dropped: list[int] = []
    writer = LineWriter(write, dropped=dropped.append)
    for _ in range(100):
        writer.put(b"x" * 99 + b"\n")
    writer.close()
    os.close(write)
    assert sum(dropped) == 100
    assert caplog.text.count("event=access_log_failed error='Broken pipe'") == 1


def test_many_threads_may_have_lines(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        writer = LineWriter(file.fileno())

        def put() -> None:
            for _ in range(500):
                writer.put(b"line\n")

        threads = [threading.Thread(target=put) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
    assert (tmp_path / "log").read_bytes() == b"line\n" * 4000
