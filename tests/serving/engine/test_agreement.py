from serving.engine.agreement import differing, served


def facts(model: str, version: str, state: str, identity: str) -> dict[str, str]:
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
