"""What can be asked for: flags over a scenario over the defaults, and every misunderstanding named."""

import argparse
import tomllib
from pathlib import Path

import pytest

from loadtests import options
from loadtests.options import Options, resolve, scenario_names
from loadtests.runs import plan_of
from loadtests.server import CannotRun, Server
from loadtests.slo import parse

URL = "http://127.0.0.1:8000"


def asked(*words: str) -> Options:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    return resolve(parser.parse_args(words))


def test_defaults_flags_and_scenarios() -> None:
    assert asked(URL) == Options(url=URL)
    assert asked(URL, "--rate", "50", "--warm-up", "0").rate == 50.0
    spike = asked(URL, "--scenario", "spike")
    assert (spike.shape, spike.factor, spike.rate) == ("spike", 10.0, 50.0)
    assert asked(URL, "--scenario", "spike", "--rate", "5").rate == 5.0
    # One kind of load replaces the other.
    assert asked(URL, "--scenario", "spike", "--users", "5").rate is None
    assert asked(URL, "--web").web == 8089
    assert asked(URL, "--rate", "2.5x").rate == "2.5x"


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_can_be_run(name: str) -> None:
    words = ["--against", "http://127.0.0.1:8001"] if name == "frontends" else []
    found = asked(URL, "--scenario", name, *words)
    assert found.description
    if found.slo:
        parse(found.slo)
    if not isinstance(found.rate, str):
        assert plan_of(found, Server(URL), ()).profile.seconds == found.duration + found.warm_up
    for variant in found.variant:
        assert options.varied(found, variant).payload == variant["payload"]


def test_the_scenarios_that_are_promised_are_there() -> None:
    wanted = {"smoke", "steady", "spike", "soak", "overload", "mixed", "frontends", "formats"}
    assert set(scenario_names()) == wanted
    smoke = tomllib.loads((options.SCENARIOS / "smoke.toml").read_text())
    assert smoke["duration"] + smoke["warm_up"] == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "url: expected http://host:port, found none"),
        ([URL, "--users", "0"], "users: expected 1 to 10,000, found '0'"),
        ([URL, "--users", "many"], "users: expected 1 to 10,000, found 'many'"),
        ([URL, "--duration", "nan"], "duration: expected"),
        ([URL, "--rate", "-1"], "rate: expected a rate, or 3x, found '-1'"),
        ([URL, "--rate", "x"], "rate: expected a rate"),
        ([URL, "--arrivals", "sometimes"], "arrivals: expected poisson or constant"),
        ([URL, "--shape", "round"], "shape: expected steady or steps"),
        ([URL, "--find-capacity"], "slo: expected objectives to keep"),
        ([URL, "--tune", "--slo", "p99<1s"], "url: expected none with --tune"),
        ([URL, "--scenario", "nothing"], "scenario: expected one of formats, frontends"),
        ([URL, "--web", "0"], "web: expected 1 to 65,535"),
        ([URL, "--model", ""], "model: expected a text, found ''"),
    ],
)
def test_what_makes_no_sense_is_named(words: list[str], told: str) -> None:
    with pytest.raises(CannotRun) as refused:
        asked(*words)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("user = 3", "found 'user'"),
        ("users = 'x'", "users: expected 1 to"),
        ("users = ", "scenario: mine.toml: Invalid value"),
        ("honour_retry_after = 1", "honour-retry-after: expected true or false"),
        ("[[variant]]\npayload = 'json'", "variant: expected a label"),
        ("[[variant]]\nlabel = 'a'\nslo = 'p99<1s'", "variant: expected a label and some of model, payload"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(CannotRun) as refused:
        asked(URL, "--scenario", str(tmp_path / "mine.toml"))
    assert told in str(refused.value)
