"""What dashboards are made of: panels in rows, and the JSON that Grafana loads. Widths and heights are laid out here.

The JSON is Grafana's classic kind, which every version loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, ROW_HEIGHT = 24, 1
GREEN, YELLOW, RED = "green", "yellow", "red"

Steps = Sequence[tuple[float | None, str]]
"""Colours from a value upwards; None is from anywhere."""


@dataclass(frozen=True)
class Panel:
    """One panel: expressions by their legends."""

    title: str
    description: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    steps: Steps = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    instant: bool = False
    bounds: tuple[float | None, float | None] = (None, None)

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return the panel as Grafana has it, at a place."""
        low, high = self.bounds
        limits = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
        colours: dict[str, Any] = {"color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"}}
        steps = [{"value": value, "color": colour} for value, colour in self.steps or [(None, GREEN)]]
        custom: dict[str, Any] = {}
        if self.kind == "timeseries":
            custom = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
            custom["thresholdsStyle"] = {"mode": "line" if self.steps else "off"}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(place, *query) for place, query in enumerate(self.queries.items())],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    **colours,
                    **limits,
                    "thresholds": {"mode": "absolute", "steps": steps},
                    "custom": custom,
                    **self.defaults,
                },
                "overrides": [],
            },
            "options": dict(self.options),
        }

    def _target(self, place: int, legend: str, expression: str) -> dict[str, Any]:
        target = {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "range": not self.instant,
            "instant": self.instant,
        }
        return target | ({"format": "table"} if self.kind == "table" else {})


def curves(title: str, description: str, queries: Mapping[str, str], unit: str = "short", **more: Any) -> Panel:
    """Return a panel of curves over time."""
    legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel(title, description, queries, unit, options=options, **more)


def number(title: str, description: str, expression: str, unit: str = "short", **more: Any) -> Panel:
    """Return a panel of one number with its latest course."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
    }
    return Panel(title, description, {title: expression}, unit, "stat", 4, 4, options=options, **more)


def listing(title: str, description: str, expression: str, **more: Any) -> Panel:
    """Return a table of what an expression gives now, a row a series."""
    options = {"showHeader": True, "cellHeight": "sm"}
    return Panel(title, description, {"": expression}, kind="table", options=options, instant=True, **more)


def states(title: str, description: str, queries: Mapping[str, str], words: Mapping[int, tuple[str, str]]) -> Panel:
    """Return bands over time whose colours and words tell states; ``words``: word and colour by value."""
    mappings = {str(value): {"text": word, "color": colour} for value, (word, colour) in words.items()}
    return Panel(
        title,
        description,
        queries,
        kind="state-timeline",
        width=12,
        options={"showValue": "never", "mergeValues": True, "legend": {"showLegend": True, "placement": "bottom"}},
        defaults={"mappings": [{"type": "value", "options": mappings}]},
    )


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels by their titles. ``instances``: the metric whose instances the dashboard lets one choose from."""

    uid: str
    title: str
    description: str
    rows: Mapping[str, Sequence[Panel]]
    instances: str | None = None

    def json(self) -> dict[str, Any]:
        """Return the dashboard as Grafana loads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["ptzjepa"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "timezone": "utc",
            "time": {"from": "now-6h", "to": "now"},
            "links": [
                {"type": "dashboards", "title": "PTZJEPA", "tags": ["ptzjepa"], "asDropdown": True, "keepTime": True}
            ],
            "templating": {"list": self._variables()},
            "panels": self._panels(),
        }

    def _variables(self) -> list[dict[str, Any]]:
        source = {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
        }
        if self.instances is None:
            return [source]
        chosen = {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": SOURCE,
            "query": f"label_values({self.instances}, instance)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }
        return [source, chosen]

    def _panels(self) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        y = 0
        for title, panels in self.rows.items():
            place = {"x": 0, "y": y, "w": WIDTH, "h": ROW_HEIGHT}
            made.append({"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place})
            made[-1]["panels"] = []
            x, y, tallest = 0, y + ROW_HEIGHT, 0
            for panel in panels:
                if x + panel.width > WIDTH:
                    x, y, tallest = 0, y + tallest, 0
                made.append(panel.json(len(made) + 1, x, y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return made
