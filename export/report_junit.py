"""JUnit XML: what CI systems read. A test suite for each format, a test case for each output and each edge of an input.

An artifact that differs is a failure, one that could not be made or opened an error. There is no standard of the format; the
elements used here are those of the Ant task that all readers understand.
"""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as Xml

from export.attempt import FormatResult
from export.publish import Publication

#: Characters that XML 1.0 cannot hold at all, however escaped (https://www.w3.org/TR/xml/#charsets).
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_bytes(publication: Publication) -> bytes:
    """Return the report as XML."""
    suites = Xml.Element("testsuites", name=f"sameway export {publication.model}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for result in publication.results:
        suite = Xml.SubElement(suites, "testsuite", name=f"{publication.model}.{result.format}", timestamp=now)
        _fill(suite, publication.model, result)
        _count(suite)
    if publication.faults:  # those of the model itself, as of content that is read otherwise than in training
        suite = Xml.SubElement(suites, "testsuite", name=publication.model, timestamp=now)
        case = Xml.SubElement(suite, "testcase", classname=publication.model, name="content")
        _problem(case, "failure", "\n".join(publication.faults))
        _count(suite)
    return _written(suites)


def could_not_run(model: str, message: str) -> bytes:
    """Return the report of an export that never came to compare anything."""
    suites = Xml.Element("testsuites", name=f"sameway export {model}")
    suite = Xml.SubElement(suites, "testsuite", name=model)
    _problem(Xml.SubElement(suite, "testcase", classname=model, name="export"), "error", message)
    _count(suite)
    return _written(suites)


def _fill(suite: Xml.Element, model: str, result: FormatResult) -> None:
    place = f"{model}.{result.format}"
    if result.artifact is None:
        name = "open" if result.exported else "export"
        _problem(Xml.SubElement(suite, "testcase", classname=place, name=name), "error", result.error or "not exported")
        return
    told: set[str] = set()
    parity = result.artifact.parity
    for output in (*parity.outputs, *parity.before_last):
        case = Xml.SubElement(suite, "testcase", classname=place, name=output.output)
        mine = [fault for fault in result.faults if fault.startswith(f"{output.output}: ")]
        if not output.passed:
            told.update(mine)
            _problem(case, "failure", "\n".join(mine) or "differs from the eager model")
    for edge in parity.edges:
        case = Xml.SubElement(suite, "testcase", classname=place, name=f"{edge.input} at {edge.edge}")
        if not edge.passed:
            mine = [fault for fault in result.faults if fault.startswith(f"{edge.input} at {edge.edge}: ")]
            told.update(mine)
            _problem(case, "failure", "\n".join(mine) or edge.remark or "answered otherwise than by the eager model")
    if parity.task is not None:
        case = Xml.SubElement(suite, "testcase", classname=place, name=parity.task.metric)
        if not parity.task.passed:
            mine = [fault for fault in result.faults if fault.startswith(f"{parity.task.metric}: ")]
            told.update(mine)
            _problem(case, "failure", "\n".join(mine))
    others = [fault for fault in result.faults if fault not in told]
    if others:  # what is no single output's: other lengths of free axes, the score on the task
        _problem(Xml.SubElement(suite, "testcase", classname=place, name="as a whole"), "failure", "\n".join(others))


def _problem(case: Xml.Element, kind: str, message: str) -> None:
    sayable = _UNSAYABLE.sub("\ufffd", message)
    Xml.SubElement(case, kind, message=sayable.splitlines()[0] if sayable else kind).text = sayable


def _count(suite: Xml.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))


def _written(suites: Xml.Element) -> bytes:
    for name in ("tests", "failures", "errors"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    Xml.indent(suites)
    found: bytes = Xml.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"
