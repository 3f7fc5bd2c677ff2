import pytest

from serving.engine.door import Door


def test_the_two_ends_of_a_connection_go_to_two_processes() -> None:
    front, front_end = Door.pair()
    engine, engine_end = Door.pair()
    Door.connect(front, engine, 3)
    Door.connect(front, engine, 4)
    doors = Door(front_end), Door(engine_end)
    for number in (3, 4):
        ours, theirs = doors[0].take(), doors[1].take()
        assert ours is not None
        assert theirs is not None
        assert ours[0] == theirs[0] == number
        with ours[1], theirs[1]:
            ours[1].sendall(b"hello")
            assert theirs[1].recv(10) == b"hello"
            assert not ours[1].get_inheritable(), "no process that is started later has it too"
    with pytest.raises(BlockingIOError):
        doors[0].take()
    for door in (front, engine):
        door.close()
    assert [door.take() for door in doors] == [None, None]
    for door in doors:
        door.close()


def test_what_is_handed_to_a_process_that_has_ended_is_closed_for_the_other() -> None:
    front, front_end = Door.pair()
    engine, engine_end = Door.pair()
    engine_end.close()
    Door.connect(front, engine, 1)
    taken = Door(front_end).take()
    assert taken is not None
    with taken[1] as ours:
        assert ours.recv(1) == b""
    for end in (front, engine, front_end):
        end.close()
