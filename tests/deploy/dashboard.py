"""The dashboard's JSON as the tests read it: its panels, their queries, its variables; and the schema it is held against.

Grafana has no package here. The schema says what of Grafana's dashboard model (schemaVersion 39) this dashboard uses, as
Grafana's documentation has it; a name that it does not list is taken for a mistake.
"""

import json
import re
from typing import Any, NamedTuple

from tests.deploy.tools import DEPLOY

FILE = DEPLOY / "grafana" / "dashboards" / "sameway.json"

_TEXT, _WHOLE, _TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_SOURCE = {"const": {"type": "prometheus", "uid": "prometheus"}}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object with these members and no others."""
    members = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": members, "additionalProperties": False}


_PLACE = _object({name: {"type": "integer", "minimum": 0, "maximum": 24 if name in "wx" else 1000} for name in "hwxy"})
_TARGET = _object(
    {"refId": {"type": "string", "pattern": "^[A-Z]$"}, "datasource": _SOURCE, "expr": {"type": "string", "minLength": 1}},
    legendFormat=_TEXT, instant=_TRUTH, range=_TRUTH, format={"enum": ["table", "heatmap", "time_series"]},
)  # fmt: skip
_STEP = _object({"color": _TEXT, "value": {"type": ["number", "null"]}})
_DEFAULTS = _object(
    {"unit": {"enum": ["short", "reqps", "percentunit", "s", "bytes", "watt"]}, "min": {"type": "number"}},
    max={"type": "number"},
    thresholds=_object({"mode": {"const": "absolute"}, "steps": {"type": "array", "items": _STEP, "minItems": 1}}),
    custom=_object(
        {"fillOpacity": _WHOLE, "lineWidth": _WHOLE, "showPoints": {"enum": ["never", "auto", "always"]}},
        stacking=_object({"mode": {"enum": ["normal", "none", "percent"]}, "group": _TEXT}),
    ),
)
_ROW = _object(
    {"id": _WHOLE, "type": {"const": "row"}, "title": _TEXT, "collapsed": {"const": False}, "gridPos": _PLACE,
     "panels": {"type": "array", "maxItems": 0}},
)  # fmt: skip
_PANEL = _object(
    {
        "id": _WHOLE,
        "type": {"enum": ["timeseries", "stat", "table", "heatmap"]},
        "title": {"type": "string", "minLength": 1},
        "description": {"type": "string", "minLength": 1},
        "datasource": _SOURCE,
        "gridPos": _PLACE,
        "fieldConfig": _object({"defaults": _DEFAULTS, "overrides": {"type": "array", "maxItems": 0}}),
        "options": {"type": "object"},
        "targets": {"type": "array", "items": _TARGET, "minItems": 1},
    },
    transformations={"type": "array", "items": _object({"id": {"const": "organize"}, "options": {"type": "object"}})},
)
_VARIABLE = _object(
    {
        "name": _TEXT, "label": _TEXT, "type": {"const": "query"}, "datasource": _SOURCE, "definition": _TEXT,
        "query": _object({"query": _TEXT, "refId": _TEXT}), "refresh": {"enum": [1, 2]}, "sort": _WHOLE, "multi": _TRUTH,
        "includeAll": _TRUTH, "allValue": _TEXT, "current": _object({"text": _TEXT, "value": _TEXT}),
    }
)  # fmt: skip
_ANNOTATION = _object(
    {"name": _TEXT, "datasource": _SOURCE, "enable": _TRUTH, "iconColor": _TEXT, "expr": _TEXT, "titleFormat": _TEXT}
)

SCHEMA = _object(
    {
        "uid": {"type": "string", "maxLength": 40}, "title": _TEXT, "description": _TEXT,
        "tags": {"type": "array", "items": _TEXT}, "schemaVersion": {"const": 39}, "version": _WHOLE, "editable": _TRUTH,
        "timezone": {"enum": ["browser", "utc"]}, "refresh": _TEXT, "time": _object({"from": _TEXT, "to": _TEXT}),
        "templating": _object({"list": {"type": "array", "items": _VARIABLE}}),
        "annotations": _object({"list": {"type": "array", "items": _ANNOTATION}}),
        "panels": {"type": "array", "items": {"oneOf": [_ROW, _PANEL]}, "minItems": 1},
    }
)  # fmt: skip


class Query(NamedTuple):
    """One query of one panel, as Grafana would send it."""

    panel: str
    expression: str


def read() -> Any:  # Any: JSON
    """Return the dashboard."""
    return json.loads(FILE.read_text())


def queries(*, window: str) -> list[Query]:
    """Return every query of every panel, with everything chosen and rates over a window."""
    found = []
    for panel in read()["panels"]:
        found += [Query(panel["title"], filled(target["expr"], window=window)) for target in panel.get("targets", [])]
    return found


def filled(expression: str, *, window: str) -> str:
    """Return a query without Grafana's variables; a variable that nobody knows is an error."""
    known = {"__rate_interval": window, **{one["name"]: one["allValue"] for one in read()["templating"]["list"]}}
    return re.sub(r"\$(\w+)", lambda name: known[name[1]], expression)


def variables() -> dict[str, str]:
    """Return the labels that the variables are, and for each the selector that it asks Prometheus for."""
    asked = [re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"]) for one in read()["templating"]["list"]]
    return {one[2]: one[1] for one in asked if one is not None}
