"""The suite as a program: `python -m tests.export.suite`, or `make export-suite`."""

import argparse
import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch

from export.exporter import FORMATS
from tests.export.suite import cases, judge
from tests.export.suite.case import PASSES
from tests.export.suite.judge import Finding


def main() -> int:
    """Judge every case and plant every fault; return 1 if a verdict was not the expected one or a fault was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.export.suite", description=__doc__)
    parser.add_argument("--cases", nargs="*", help="names of cases; all unless given")
    parser.add_argument("--no-faults", action="store_true", help="verdicts only")
    parser.add_argument("--json", type=Path, help="write all that was found to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)  # small tensors: threads would only wait for each other
    chosen = [case for case in cases.CASES if not given.cases or case.name in given.cases]
    surprises, found = [], list[Finding]()
    for case in chosen:
        for format, said in judge.verdicts(case, list(FORMATS)).items():
            found.append(Finding(case.name, format, said))
            expected = case.expected(format)
            right = said == PASSES if expected == PASSES else re.search(expected, said) is not None
            if not right:
                surprises.append(
                    f"{case.name}: {format}: expected {expected or 'to pass'}, found {said or 'that it passes'}"
                )
            print(f"{case.name:20} {format:17} {said or 'passes':.160}{'' if right else '   <- NOT EXPECTED'}", flush=True)
        if given.no_faults or not case.equal_formats:
            continue
        for finding in judge.faults(case, case.equal_formats):
            found.append(finding)
            if finding.missed:
                surprises.append(f"{case.name}: {finding.format}: {finding.kind} in {finding.place}: MISSED")
                print(surprises[-1], flush=True)
    _summary(found, alarms=sum(" expected to pass, " in surprise for surprise in surprises))
    for surprise in surprises:
        print(surprise)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps([asdict(finding) for finding in found], indent=1))
    return 1 if surprises else 0


def _summary(found: list[Finding], *, alarms: int) -> None:
    """Print, by kind of fault, how many were caught, and the totals; `alarms` are honest files that did not pass."""
    planted = [finding for finding in found if finding.kind]
    counting = [finding for finding in planted if not finding.equivalent]
    for kind in dict.fromkeys(finding.kind for finding in planted):
        mine = Counter(finding.said != PASSES for finding in counting if finding.kind == kind)
        equal = sum(finding.kind == kind for finding in planted) - mine.total()
        print(f"{kind:20} caught {mine[True]} of {mine.total()}, equivalent {equal}")
    caught = sum(not finding.missed for finding in counting)
    modules = {finding.case for finding in found}
    passed = sum(finding.said == PASSES for finding in found if not finding.kind)
    print(
        f"{len(modules)} modules, {len(found) - len(planted)} verdicts ({passed} pass); caught {caught} of {len(counting)}, "
        f"equivalent {len(planted) - len(counting)}, false alarms {alarms}"
    )
