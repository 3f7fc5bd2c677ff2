"""What can be asked for: flags over a scenario over the defaults, and every misunderstanding named."""

import argparse
import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from loadtests import combinations, options
from loadtests.options import Options, resolve, scenario_names
from loadtests.runs import plan_of
from loadtests.server import CannotRun, Server
from loadtests.slo import SloError, parse

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


def test_help_is_complete() -> None:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    told = parser.format_help()
    for field in dataclasses.fields(Options):
        if field.name not in ("url", "description", "variant"):
            assert f"--{field.name.replace('_', '-')}" in told
    assert all(name in told for name in scenario_names())


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
        ([URL, "--arrivals", "sometimes", "--rate", "1"], "arrivals: expected poisson or constant"),
        ([URL, "--shape", "round"], "shape: expected steady or steps"),
        ([URL, "--scenario", "nothing"], "scenario: expected one of formats, frontends"),
        ([URL, "--web", "0"], "web: expected 1 to 65,535"),
        ([URL, "--model", ""], "model: expected a text, found ''"),
        ([URL, "--model", "\udcff"], "model: expected a text, found"),
        ([URL, "--model", "a=0"], "model: expected names, each once, with weights above 0"),
        ([URL, "--model", "a=3,b=-1"], "model: expected names, each once, with weights above 0"),
        ([URL, "--payload", "json=nan"], "payload: expected names, each once, with weights above 0"),
        ([URL, "--payload", "json=0"], "payload: expected names, each once, with weights above 0"),
        ([URL, "--model", ",".join(f"m{n}" for n in range(100))], "model: expected up to 85 of them, found 100"),
        ([URL, "--slo", "errors<0%"], "slo: errors<0%: expected something that can be, as errors<=0"),
        ([URL, "--slo", "p99<0ms"], "slo: p99<0ms: expected something that can be"),
        ([URL, "--slo", "wrong<200%"], "slo: wrong<200%: expected a share up to 100%"),
        ([URL, "--slo", "p99<50ms,p99>60ms"], "p99>60ms, p99<50ms: expected objectives that can both be kept"),
        ([URL, "--slo", "p50>1s,p99<50ms"], "p50>1s, p99<50ms: expected objectives that can both be kept"),
        ([URL, "--slo", "goodput>5,goodput<=5"], "goodput>5, goodput<=5: expected objectives that can both"),
        ([URL, "--slo", f"goodput>{'9' * 400}"], "slo: goodput: expected a number up to 1e+09"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_named(words: list[str], told: str) -> None:
    with pytest.raises((CannotRun, SloError)) as refused:
        asked(*words)
    assert told in str(refused.value)


#: Whatever is asked of a number.
ODD = ("nan", "inf", "-inf", "-1", "1e999", "1e30", "", "x", "0x10", "true", "9" * 5000)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", [*options.RANGES, "rate"])
def test_numbers_that_make_no_sense_are_named_by_flag_and_scenario(name: str, value: str, tmp_path: Path) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(CannotRun, match=f"^{flag}: expected "):
        asked(URL, f"--{flag}={value}")
    as_toml = value if value in ("nan", "inf", "-inf", "-1", "1e999", "1e30", "true") else repr(value)
    (tmp_path / "mine.toml").write_text(f"{name} = {as_toml}")
    with pytest.raises(CannotRun, match=f"^{flag}: expected "):
        asked(URL, "--scenario", str(tmp_path / "mine.toml"))


#: One value of each option that makes sense alone, or with what it needs.
SOUND: dict[str, object] = {
    "url": URL, "against": URL + "1", "users": 5, "rate": 5.0, "arrivals": "constant", "shape": "spike", "factor": 2.0,
    "steps": 3, "duration": 5.0, "rounds": 2, "find_capacity": True, "tune": True, "trial": 2.0, "trials": 4,
    "precision": 0.2, "web": 8090, "image": "one", "key_file": "key", "ca": "ca.pem", "config": "config.toml",
    "variant": [{"label": "a", "payload": "json"}],
}  # fmt: skip


def flags(chosen: dict[str, object]) -> list[str]:
    words = [str(chosen["url"])] if "url" in chosen else []
    for name, value in chosen.items():
        if name != "url":
            words += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    return words


def written(chosen: dict[str, object], folder: Path) -> list[str]:
    """Return the words that ask for the same by a scenario."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in chosen.items() if name != "variant"]
    tables = chosen.get("variant", [])
    assert isinstance(tables, list)
    for table in tables:
        lines += ["[[variant]]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    (folder / "mine.toml").write_text("\n".join(lines))
    return ["--scenario", str(folder / "mine.toml")]


def refused(words: list[str]) -> str:
    with pytest.raises(CannotRun) as error:
        asked(*words)
    return str(error.value)


@pytest.mark.parametrize(("one", "other"), [pair[:2] for pair in combinations.EXCLUSIVE])
def test_pairs_that_exclude_each_other_are_named_both(one: str, other: str, tmp_path: Path) -> None:
    chosen = {name: SOUND[name] for name in (one, other)} | ({} if "tune" in (one, other) else {"url": URL})
    told = [refused(written(chosen, tmp_path))]
    if "variant" not in chosen:
        told.append(refused(flags(chosen)))
    for words in told:
        assert combinations.shown(one) in words
        assert combinations.shown(other) in words
        assert "found both" in words


@pytest.mark.parametrize(("name", "needed"), combinations.NEEDS)
def test_options_that_need_another_are_named_with_it(name: str, needed: tuple[str, ...], tmp_path: Path) -> None:
    chosen = {name: SOUND[name]} | ({} if name == "tune" else {"url": URL})
    for words in (refused(written(chosen, tmp_path)), refused(flags(chosen))):
        assert words.startswith(f"{combinations.shown(name)}: expected together with {combinations.shown(needed[0])}")


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"factor": 3.0}, "--factor and --shape: expected --shape spike, found none"),
        ({"factor": 3.0, "shape": "steps"}, "--factor and --shape: expected --shape spike, found steps"),
        ({"steps": 3, "shape": "ramp"}, "--steps and --shape: expected --shape steps, found ramp"),
        ({"against": URL}, "url and --against: expected two servers"),
        ({"ca": "ca.pem"}, "--ca and url: expected https://"),
        ({"users": 2, "processes": 3}, "--users and --processes: expected a user at least for each process"),
    ],
)
def test_values_that_do_not_go_together_are_named_both(chosen: dict[str, object], told: str, tmp_path: Path) -> None:
    chosen = {"url": URL, **chosen}
    assert refused(flags(chosen)).startswith(told)
    assert refused(written(chosen, tmp_path)).startswith(told)


def test_every_option_alone_is_sound(tmp_path: Path) -> None:
    search: dict[str, object] = {"find_capacity": True, "slo": "p99<1s"}
    needed: dict[str, dict[str, object]] = {
        "arrivals": {"rate": 5.0}, "factor": {"shape": "spike"}, "steps": {"shape": "steps"},
        "tune": {"slo": "p99<1s"}, "config": {"tune": True, "slo": "p99<1s"}, "ca": {"url": "https://127.0.0.1"},
        **dict.fromkeys(("find_capacity", "trial", "trials", "precision"), search),
    }  # fmt: skip
    for name, value in SOUND.items():
        chosen = {name: value, **needed.get(name, {})}
        if "tune" not in chosen and "url" not in chosen:
            chosen["url"] = URL
        asked(*written(chosen, tmp_path))
        if name != "variant":
            asked(*flags(chosen))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("duration = 3\nuser = 3", "mine.toml, line 2: found 'user', expected 'users'?"),
        ("zzz = 3", "mine.toml, line 1: found 'zzz', expected some of url"),
        ("[load]\nusers = 3", "mine.toml, line 1: found 'load'"),
        ("users = 'x'", "users: expected 1 to"),
        ("users = ", "scenario: mine.toml: Invalid value"),
        ("users = [3]", "users: expected 1 to 10,000, found [3]"),
        ("model = 3", "model: expected a text, found 3"),
        ("find_capacity = 'yes'", "find-capacity: expected true or false, found 'yes'"),
        ("scenario = 'spike'", "line 1: found 'scenario'"),
        ("honour_retry_after = 1", "honour-retry-after: expected true or false"),
        ("variant = 3", "line 1: expected [[variant]] tables, found 3"),
        ("[[variant]]\npayload = 'json'", "variant 1: expected a label, found None"),
        ("[[variant]]\nlabel = 3", "variant 1: expected a label, found 3"),
        ("[[variant]]\nlabel = 'a'\n[[variant]]\nlabel = 'a'", "variant: expected labels that differ"),
        ("[[variant]]\nlabel = 'a'\n[[variant]]\nlabel = 'b'\nslo = 'p99<1s'", "variant 2, line 5: found 'slo', expected"),
        ("[[variant]]\nlabel = 'a'\nusers = 0", "users: expected 1 to 10,000, found 0"),
        ("[[variant]]\nlabel = 'a'\nrate = -1", "rate: expected a rate of"),
        ("[[variant]]\nlabel = 'a'\nusers = 1\nrate = 1", "variant 1: users and rate: expected one of them, found both"),
        ("[[variant]]\nlabel = 'a'\narrivals = 'often'\nrate = 1", "arrivals: expected poisson or constant, found 'often'"),
        ("[[variant]]\nlabel = 'a'\narrivals = 'poisson'", "variant 1: arrivals: expected together with rate"),
        ("[[variant]]\nlabel = 'a'\nmodel = 'a=0'", "model: expected names, each once, with weights above 0"),
    ],
)  # fmt: skip
def test_a_scenario_that_makes_no_sense_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    assert told in refused([URL, "--scenario", str(tmp_path / "mine.toml")])


def test_users_of_a_variant_make_it_a_closed_load(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("rate = 5\n[[variant]]\nlabel = 'a'\nusers = 3\n[[variant]]\nlabel = 'b'")
    found = asked(URL, "--scenario", str(tmp_path / "mine.toml"))
    first, second = (options.varied(found, one) for one in found.variant)
    assert (first.rate, first.users, second.rate) == (None, 3, 5.0)
