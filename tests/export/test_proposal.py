"""The proposed configuration: one that serving reads, no more threads than cores, and the figures it rests on."""

import tomllib
from pathlib import Path

import pytest

from export import proposal, version_path
from export.proposal import NoProposal, Plan, choose, plans, text
from serving import model_config
from tests import toys
from tests.models.profiling import measurement, profile

PLENTY = 1 << 40
ONE, TWO, WIDE = Plan("onnx", 1, 1, 8), Plan("onnx", 2, 1, 8), Plan("onnx", 1, 2, 8)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({ONE: 100, TWO: 190, WIDE: 150}, TWO),
        ({ONE: 100, TWO: 104, WIDE: 104}, ONE),  # as fast: what is left free serves HTTP
        ({ONE: 100, TWO: 150, WIDE: 190}, WIDE),
        ({TWO: 150, WIDE: 149}, WIDE),  # the weights in memory once
    ],
)
def test_the_plan_that_carries_most_with_the_least(rates: dict[Plan, float], expected: Plan) -> None:
    assert choose(rates) == expected


def test_nothing_measured_is_nothing_proposed() -> None:
    with pytest.raises(NoProposal, match="none of the formats"):
        choose({})


def test_plans_use_no_more_threads_than_there_are_cores_and_no_quantized_format() -> None:
    measured = profile("a" * 64, {"onnx": 100, "torchscript": 300, "onnx_int8": 900})
    found = plans(measured, cores=6, free_bytes=PLENTY)
    assert {plan.format for plan in found} == {"torchscript"}
    assert [(plan.instances, plan.threads) for plan in found] == [(1, 1), (6, 1), (1, 2), (3, 2), (1, 4), (1, 6)]
    assert all(plan.rows == 8 for plan in found)
    assert max(plan.instances for plan in plans(measured, cores=64, free_bytes=PLENTY)) == 8
    assert plans(profile("a" * 64, {"onnx_int8": 900}), cores=2, free_bytes=PLENTY) == []


def test_plans_that_memory_could_not_hold_side_by_side_are_left_out() -> None:
    measured = profile("a" * 64, {"onnx": 100})  # 80 MB a process, 9 MB more for each other instance
    for free, expected in ((400e6, [(1, 1), (2, 1)]), (200e6, [(1, 1)]), (100e6, [])):
        found = plans(measured, cores=2, free_bytes=int(free))
        assert [(plan.instances, plan.threads) for plan in found] == expected


def test_the_proposal_is_a_configuration_that_serving_reads(tmp_path: Path) -> None:
    measured = profile("a" * 64, {"onnx": measurement(1000), "torchscript": 300})
    proposed = text(measured, "toy/1", 8, {ONE: 1000.0, TWO: 2000.0})
    proposal.write(tmp_path, proposed)
    config = model_config.read(tmp_path / "config.toml")
    assert (config.format, config.instances, config.threads) == ("onnx", 2, 1)
    assert (config.queue_delay_seconds, config.queue_rows) == (0, 500)
    assert "onnx 1,000, torchscript 300" in proposed
    assert "#   onnx, 2 × 1, in batches of 8: 2,000 rows/s" in proposed
    assert tomllib.loads(text(measured, "toy/1", 8, {ONE: 8.0}))["queue_rows"] == 32, "four full batches at least"
    assert tomllib.loads(text(measured, "toy/1", 0, {ONE: 1e9}))["queue_rows"] == 1_000_000
    with pytest.raises(FileExistsError):
        proposal.write(tmp_path, proposed)


def test_plans_are_measured_side_by_side_and_one_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    place = version_path.find(str(tmp_path / "toy"))
    rates = proposal.compare(place, place.open(), [ONE, TWO, Plan("papyrus", 1, 1, 8)])
    assert rates.keys() == {ONE, TWO}
    assert all(rate > 0 for rate in rates.values())


@pytest.mark.parametrize("name", ["config.toml", "config.pbtxt"])
def test_a_configuration_that_is_there_is_seen_even_as_a_dangling_link(tmp_path: Path, name: str) -> None:
    assert proposal.existing(tmp_path) is None
    (tmp_path / name).symlink_to("nowhere")
    assert proposal.existing(tmp_path) == name
