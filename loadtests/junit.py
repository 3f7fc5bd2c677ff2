"""JUnit XML: what CI systems read. A suite for each load, a case for each objective and one for the answers.

A missed objective and wrong answers are failures; a test that could not run, or a saturated generator, is an error. The
elements are those of the Ant task, which all readers understand.
"""

import re
from xml.etree import ElementTree as Xml

from loadtests.report import INTERRUPTED, INVALID, Json
from loadtests.terminal import of_answers

#: Characters that XML 1.0 cannot hold at all, however escaped (https://www.w3.org/TR/xml/#charsets).
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_bytes(report: Json) -> bytes:
    """Return the report as XML."""
    suites = Xml.Element("testsuites", name=f"sameway loadtest {', '.join(report['target']['models'])}")
    for run in report["runs"]:
        name = f"{run['label']} {run['round'] + 1}" if run["round"] else run["label"]
        suite = Xml.SubElement(suites, "testsuite", name=name, timestamp=report["made"], time=f"{run['seconds']:.3f}")
        case = Xml.SubElement(suite, "testcase", classname=name, name="answers")
        told = [f"{failure['count']} × {failure['told']}: {'; '.join(failure['examples'])}" for failure in run["failures"]]
        if run["verdict"] in (INVALID, INTERRUPTED) or run["stopped"]:
            short = (
                "the generator was saturated" if run["generator"]["saturated"] else "the generator had no connection free"
            )
            _problem(case, "error", "\n".join([run["stopped"] or short, *run["remarks"]]))
        elif not run["totals"]["requests"] or run["unexcused"]:
            _problem(case, "failure", "\n".join([of_answers(run["totals"]), *told]))
        for judged in run["slo"]:
            case = Xml.SubElement(suite, "testcase", classname=name, name=judged["objective"])
            if not judged["kept"]:
                _problem(case, "failure", f"found {judged['told']}")
        _count(suite)
    if (capacity := report.get("capacity")) is not None:
        suite = Xml.SubElement(suites, "testsuite", name="capacity", timestamp=report["made"])
        case = Xml.SubElement(suite, "testcase", classname="capacity", name=capacity["slo"])
        if not capacity["valid"]:
            _problem(case, "error", capacity["told"])
        _count(suite)
    if report["interrupted"] is not None:
        suite = Xml.SubElement(suites, "testsuite", name="loadtest", timestamp=report["made"])
        _problem(Xml.SubElement(suite, "testcase", classname="loadtest", name="run"), "error", report["interrupted"])
        _count(suite)
    return _written(suites)


def could_not_run(message: str) -> bytes:
    """Return the report of a test that never came to measure anything."""
    suites = Xml.Element("testsuites", name="sameway loadtest")
    suite = Xml.SubElement(suites, "testsuite", name="loadtest")
    _problem(Xml.SubElement(suite, "testcase", classname="loadtest", name="run"), "error", message)
    _count(suite)
    return _written(suites)


def _problem(case: Xml.Element, kind: str, message: str) -> None:
    Xml.SubElement(case, kind, message=message.splitlines()[0] if message else kind).text = message


def _count(suite: Xml.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))


def _written(suites: Xml.Element) -> bytes:
    for name in ("tests", "failures", "errors"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    for element in suites.iter():
        element.text = None if element.text is None else _UNSAYABLE.sub("\ufffd", element.text)
        element.attrib.update({key: _UNSAYABLE.sub("\ufffd", value) for key, value in element.attrib.items()})
    Xml.indent(suites)
    found: bytes = Xml.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"
