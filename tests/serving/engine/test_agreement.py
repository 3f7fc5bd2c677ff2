from serving.block_bytes import Facts
from serving.engine.agreement import differing, served


def facts(model: str, version: str, state: str, identity: str) -> Facts:
    return {"model": model, "version": version, "state": state, "identity": identity}


def test_processes_agree_where_each_version_that_is_ready_was_opened_in_one_way() -> None:
    told = {
        0: [facts("a", "1", "READY", "x"), facts("a", "2", "READY", "y"), facts("b", "", "UNAVAILABLE", "")],
        1: [facts("a", "1", "READY", "x"), facts("a", "2", "READY", "y"), facts("a", "3", "UNAVAILABLE", "")],
    }
    assert served(told) == {"a": {1: "x", 2: "y"}}
    assert differing(told) == []
    assert differing({}) == []


def test_a_model_that_two_processes_opened_in_two_ways_is_named_once() -> None:
    told = {
        0: [facts("a", "1", "READY", "x"), facts("a", "2", "READY", "x"), facts("b", "1", "READY", "x")],
        1: [facts("a", "1", "READY", "y"), facts("a", "2", "READY", "y"), facts("b", "1", "READY", "x")],
    }
    assert differing(told) == ["a"]


def test_a_model_of_which_two_processes_serve_other_versions_is_named() -> None:
    told = {
        0: [facts("a", "1", "READY", "x"), facts("b", "1", "READY", "x"), facts("c", "1", "READY", "x")],
        1: [facts("a", "2", "READY", "y"), facts("c", "1", "READY", "x")],
        2: [facts("a", "1", "READY", "x"), facts("b", "1", "READY", "x"), facts("c", "1", "READY", "x")],
    }
    assert differing(told) == ["a", "b"]


def test_a_version_in_which_a_batch_hangs_is_served_and_one_that_could_not_be_opened_is_not() -> None:
    hangs = {**facts("a", "1", "UNAVAILABLE", "x"), "vouched": True}
    failed = {**facts("a", "2", "UNAVAILABLE", ""), "vouched": None}
    told: dict[int, list[Facts]] = {0: [hangs, failed], 1: [facts("a", "1", "READY", "x")]}
    assert served(told) == {"a": {1: "x"}}
    assert differing(told) == []
