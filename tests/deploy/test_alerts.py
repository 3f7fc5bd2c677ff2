"""The alert rules, by Prometheus' own checker, and each with a case of its own and a section of the runbook."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.prometheus import FOLDER
from tests.deploy.tools import ROOT, run, said

RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]
CASES = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]


def test_the_rules_and_the_configuration_are_well_formed() -> None:
    done = run("promtool", "check", "config", "--lint=all", "--lint-fatal", str(FOLDER / "prometheus.yml"))
    assert done.returncode == 0, said(done)
    assert f"{len(RULES)} rules found" in said(done)


def test_each_rule_fires_where_it_must_and_nowhere_else() -> None:
    done = run("promtool", "test", "rules", str(FOLDER / "alerts_test.yml"))
    assert done.returncode == 0, said(done)


#: What else the rules are made of: rule, what stands there, what could.
_OTHERS = [
    ("SamewayRestarting", "process_start_time_seconds", "process_start_time"),
    ("SamewayRestarting", "[30m]", "[15m]"),
    ("SamewayRestarting", "sameway_processes_replaced_total", "sameway_processes_replaced"),
    ("SamewayVersionsDiffer", ', track!="canary"', ""),
    ("SamewayVersionsDiffer", "namespace, ", ""),
    ("SamewayVersionsDiffer", "< on", "> on"),
    ("SamewayFailing", 'outcome="failed"', 'outcome="refused"'),
    ("SamewayRefusing", ', reason!="overloaded"', ""),
    ("SamewayRefusing", 'model="", outcome', "outcome"),
    ("SamewayClientsLeave", 'outcome="cancelled"', 'outcome="ok"'),
    ("SamewaySlow", "0.99", "0.5"),
    ("SamewayQueueGrows", "min_over_time", "max_over_time"),
    ("SamewayUnverified", ', verified="false"', ""),
    ("SamewayModelUnavailable", ', state="unavailable"', ""),
]


def _turned(sign: re.Match[str]) -> str:
    return {">": "<", "<": ">", "==": "!="}[sign[1]]


def _mistakes() -> Iterator[tuple[str, str, str]]:
    """Yield the name of a rule, what is wrong with it, and the expression that is."""
    for rule in RULES:
        name, expression = str(rule["alert"]), str(rule["expr"])
        other_way = re.sub(r"(?<= )(>|<|==)(?= )", _turned, expression.replace("absent(", "group("))
        yield name, "turned round", other_way
        yield name, "of any job", expression.replace('job="sameway"', 'job=~".+"')
        for found in re.finditer(r"> ([\d.]+(?:e\d+)?)", expression):
            threshold = float(found[1])
            # Of what is counted in ones, by one; of what is measured, by a quarter.
            moved = (threshold - 1, threshold + 1) if found[1] in ("1", "2") else (threshold * 0.75, threshold * 1.25)
            for other in moved if threshold else ():
                yield (
                    name,
                    f"> {other:g} for {found[0]}",
                    f"{expression[: found.start()]}> {other:g}{expression[found.end() :]}",
                )
    for name, right, wrong in _OTHERS:
        (expression,) = [str(rule["expr"]) for rule in RULES if rule["alert"] == name]
        assert right in expression
        yield name, f"{wrong} for {right}", expression.replace(right, wrong)


@pytest.mark.parametrize(("name", "what", "expression"), list(_mistakes()))
def test_a_mistake_in_a_rule_fails_its_cases(name: str, what: str, expression: str, tmp_path: Path) -> None:
    """The cases can fail: they lie close to each threshold, on both sides of it."""
    (rule,) = [rule for rule in RULES if rule["alert"] == name]
    assert expression != rule["expr"], what
    rules = {"groups": [{"name": "mistaken", "rules": [{**rule, "expr": expression}]}]}
    cases = [case for case in CASES if any(moment["alertname"] == name for moment in case["alert_rule_test"])]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": cases})
    )
    done = run("promtool", "test", "rules", str(tmp_path / "test.yml"))
    assert done.returncode != 0
    assert f"alertname: {name}" in said(done), said(done)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_demands_that_it_fires_and_another_moment_that_it_does_not(name: str) -> None:
    expected = [moment["exp_alerts"] for case in CASES for moment in case["alert_rule_test"] if moment["alertname"] == name]
    assert any(expected), "no case in which it fires"
    assert not all(expected), "no moment at which it must be silent"


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_who_is_woken_finds_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    name = str(rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    page = (ROOT / "docs" / "operations.md").read_text()
    section = re.search(rf"^### {name}\n\n(.+?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/operations.md has no section {name}"
    assert len(section[1]) > 150, "a section that says nothing"


def test_the_runbook_speaks_of_no_rule_that_is_gone() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^### (Sameway\w+)$", page, re.MULTILINE) == NAMES
