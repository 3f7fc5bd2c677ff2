import json

from loadtests.benchmark.report import Figures, as_json, environment, summarize, table


def figures(side: str, number: int, *, rate: float, cpu: float, kind: str = "JSON") -> Figures:
    return Figures(side, kind, 16, number, 1000, rate, 1.0, 2.0, cpu)


FOUND = [
    figures("bare", 0, rate=100, cpu=10),
    figures("ours", 0, rate=200, cpu=5),
    # In this round the machine was slow, for both.
    figures("ours", 1, rate=50, cpu=20),
    figures("bare", 1, rate=20, cpu=50),
    figures("ours", 2, rate=300, cpu=4),
    figures("bare", 2, rate=100, cpu=10),
]


def test_figures_are_medians_and_ratios_are_taken_within_each_round() -> None:
    bare, ours = summarize(FOUND, "bare")
    assert (bare.side, bare.requests_per_second, bare.throughput_ratio, bare.cpu_ratio) == ("bare", 100, 1.0, 1.0)
    assert (ours.requests_per_second, ours.cpu_us) == (200, 5)
    assert (ours.throughput_ratio, ours.cpu_ratio) == (2.5, 0.4)


def test_kinds_and_connections_are_apart() -> None:
    others = [figures("bare", 0, rate=7, cpu=7, kind="binary"), figures("ours", 0, rate=14, cpu=7, kind="binary")]
    rows = summarize([*FOUND, *others], "bare")
    assert [(row.kind, row.side) for row in rows] == [
        ("JSON", "bare"),
        ("JSON", "ours"),
        ("binary", "bare"),
        ("binary", "ours"),
    ]
    assert rows[-1].throughput_ratio == 2.0


def test_the_table_has_a_line_for_each_and_says_what_it_is_measured_by() -> None:
    lines = table(summarize(FOUND, "bare"), "bare").splitlines()
    assert len(lines) == 4
    assert "CPU ÷ bare" in lines[0]
    assert lines[-1] == "| JSON | 16 | ours | 200 | 1.00 | 2.00 | 5 | 2.50 | 0.40 |"
    assert {line.count("|") for line in lines} == {10}


def test_everything_can_be_written_as_json() -> None:
    around = environment("wrk 4.1.0")
    written = json.loads(json.dumps(as_json(FOUND, summarize(FOUND, "bare"), around)))
    assert len(written["rounds"]) == len(FOUND)
    assert len(written["medians"]) == 2
    assert written["environment"]["processor"]
    assert written["environment"]["onnxruntime"]
