from proofs.verdict import Verdict, at_least, at_most, exit_code, table


def test_a_figure_at_its_bound_is_within_it() -> None:
    assert at_least("goodput", 0.9, 0.9).passed
    assert at_most("p99", 50.0, 50.0, " ms").passed


def test_a_figure_beyond_its_bound_is_broken() -> None:
    assert not at_least("goodput", 0.89, 0.9).passed
    assert not at_most("p99", 50.1, 50.0).passed
    assert not at_most("p99", float("nan"), 50.0).passed


def test_one_broken_promise_is_enough_and_none_at_all_is_no_proof() -> None:
    good, bad = Verdict("a", "1", ">= 1", True), Verdict("b", "0", ">= 1", False)
    assert exit_code([good]) == 0
    assert exit_code([good, bad]) == 1
    assert exit_code([]) == 1


def test_the_table_has_a_line_each_and_marks_the_broken_one() -> None:
    lines = table([at_least("goodput", 0.95, 0.9), at_most("p99 of refusals", 120.0, 50.0, " ms")]).splitlines()
    assert [line.split()[-1] for line in lines] == ["ok", "BROKEN"]
    assert "120 ms" in lines[1]
