"""Write the templates of `dvc plots` whose panels are metrics: intervals.json, differences.json and controls.json.

Names, units, scales and directions come from the catalogue of metrics; ``make plots-page`` runs this.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

from toycrystals.figures.style import LABELS
from toycrystals.metrics.catalogue import CHART, CONTROL_CHART, METRICS, PRIMARY

HERE = Path(__file__).parent
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# What DVC puts in their place: rows of all revisions, and a colour a revision.
DATA, TITLE, COLOR = ("<DVC_METRIC_DATA>", "<DVC_METRIC_TITLE>", "<DVC_METRIC_COLOR>")
COLUMNS = 4
# An unbiased MMD^2 may be negative: its axis is linear within a few of its standard deviations, and logarithmic beyond.
LINEAR_WITHIN = 1e-5
POWERS = [sign * 10.0**power for power in range(-5, 1) for sign in (-1, 1)] + [0.0]
ARROWS = {"higher": " →", "lower": " ←", "near": ""}
LEGEND = {"legend": {"orient": "top", "title": None}}

Spec = dict[str, Any]


def intervals() -> Spec:
    """One panel a metric, one row a method and revision: the value with its interval on what fresh real images reach.

    For table.csv: method, metric, type, value, low, high, floor, ceiling, q95, verdict.
    """
    numbers = ("value", "low", "high", "floor", "ceiling", "q95")
    return {
        "$schema": SCHEMA,
        "data": {"values": DATA, "format": {"parse": dict.fromkeys(numbers, "number")}},
        "title": {
            "text": TITLE,
            "subtitle": [
                "Dot: value with its 95 % interval; hollow: at the floor. Line: mean of fresh real images, grey: to their worst 5 %.",
                "Arrow: the better way. A metric that a method has not is left out.",
            ],
        },
        "config": LEGEND,
        "transform": [
            {"filter": "datum.type === 'all'"},
            # So that every panel has a row for every method.
            {"impute": "value", "key": "method", "groupby": ["rev", "metric"], "value": None},
            {"calculate": f"{json.dumps(LABELS, ensure_ascii=False)}[datum.method] || datum.method", "as": "label"},
            {"calculate": "isValid(datum.floor) ? datum.floor : datum.ceiling", "as": "real"},
        ],
        "columns": COLUMNS,
        "spacing": {"row": 24, "column": 24},
        "concat": [_metric_panel(metric, labelled=i % COLUMNS == 0) for i, metric in enumerate(CHART)],
    }


def _metric_panel(metric: str, *, labelled: bool) -> Spec:
    """The rows of one metric; `labelled` panels name the methods."""
    label = METRICS[metric].label + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")
    drawn = [{"filter": f"datum.metric === '{metric}'"}]
    if METRICS[metric].log and not _signed(metric):
        drawn += [
            {"calculate": f"datum.{name} > 0 ? datum.{name} : null", "as": name} for name in ("value", "real", "q95", "high")
        ]
        drawn.append({"calculate": "datum.low > 0 ? datum.low : datum.value", "as": "low"})
    rows = _rows("label", sort=list(LABELS.values()), labelled=labelled)
    real = [
        {"mark": {"type": "bar", "color": "#e4e4e4", "height": {"band": 1}}, "encoding": {**rows, **_span("real", "q95", metric)}},
        {"mark": {"type": "tick", "color": "#999", "thickness": 1.5, "bandSize": 14}, "encoding": {**rows, **_at("real", metric)}},
    ]
    tooltip = [_told("rev", "revision"), _told("label", "method"), *map(_told, ("value", "low", "high")), _told("real", "fresh real")]
    return {
        "title": _panel_title("\n".join(textwrap.wrap(label, 28)) + ARROWS[METRICS[metric].better]),
        "width": 200,
        "height": {"step": 14, "for": "offset"},
        "transform": drawn,
        "layer": [*real, *_estimate(rows, "value", "datum.verdict === 'at floor'", metric, tooltip)],
    }


def differences() -> Spec:
    """One panel a primary metric, one row a pair of methods and revision: the paired difference with its interval.

    For pairs.csv: metric, a, b, difference, low, high, p.
    """
    return {
        "$schema": SCHEMA,
        "data": {"values": DATA, "format": {"parse": dict.fromkeys(("difference", "low", "high", "p"), "number")}},
        "title": {
            "text": TITLE,
            "subtitle": "First minus second, with the 95 % interval. Hollow: p ≥ 0.05 in the permutation test.",
        },
        "config": LEGEND,
        "transform": [
            {"calculate": f"{json.dumps(LABELS, ensure_ascii=False)}[datum.{end}] || datum.{end}", "as": end} for end in ("a", "b")
        ]
        + [{"calculate": "datum.a + ' − ' + datum.b", "as": "pair"}],
        "spacing": 24,
        "hconcat": [_difference_panel(metric, labelled=i == 0) for i, metric in enumerate(PRIMARY)],
    }


def _difference_panel(metric: str, *, labelled: bool) -> Spec:
    rows = _rows("pair", sort=None, labelled=labelled)
    label = METRICS[metric].label + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")
    told = [_told("rev", "revision"), _told("pair"), *map(_told, ("difference", "low", "high", "p"))]
    zero = {"data": {"values": [{}]}, "mark": {"type": "rule", "color": "#999"}, "encoding": {"x": {"datum": 0}}}
    return {
        "title": _panel_title(label),
        "width": 320,
        "height": {"step": 16, "for": "offset"},
        "transform": [{"filter": f"datum.metric === '{metric}'"}],
        "layer": [zero, *_estimate(rows, "difference", "datum.p >= 0.05", metric, told)],
    }


def _estimate(rows: Spec, field: str, hollow: str, metric: str, tooltip: list[Spec]) -> list[Spec]:
    """Interval and dot in the revision's colour; a dot is hollow where the expression `hollow` holds."""
    encoding = {**rows, **_at(field, metric), "tooltip": tooltip}
    known = {"filter": f"isValid(datum.{field})"}
    return [
        {
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
            "mark": {"type": "rule", "strokeWidth": 1.8},
            "encoding": {**rows, **_span("low", "high", metric), "color": COLOR},
        },
        {"transform": [known], "mark": {"type": "circle", "size": 60, "opacity": 1}, "encoding": {**encoding, "color": COLOR}},
        {
            "transform": [known],
            "mark": {"type": "circle", "color": "white", "opacity": 1},
            "encoding": {**encoding, "size": {"condition": {"test": hollow, "value": 18}, "value": 0}},
        },
    ]


def controls() -> Spec:
    """One row a control, one column a metric: how many standard deviations of real draws stand between it and the floor.

    For controls.csv: method, and a column a metric.
    """
    names = {metric: METRICS[metric].label for metric in CONTROL_CHART}
    cells: Spec = {
        "x": {
            "field": "label",
            "type": "nominal",
            "sort": list(names.values()),
            "title": None,
            "axis": {"orient": "top", "labelAngle": -45, "labelLimit": 220, "domain": False, "ticks": False},
        },
        "y": {
            "field": "method",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"labelLimit": 260, "domain": False, "ticks": False},
        },
    }
    colour = {
        "field": "z",
        "type": "quantitative",
        "title": None,
        "scale": {"type": "log", "domain": [3, 1000], "clamp": True, "range": ["#edf8b1", "#41b6c4", "#0c2c84"]},
        "legend": {"values": [3, 10, 30, 100, 300, 1000], "orient": "right", "gradientLength": 160, "format": "d"},
    }
    return {
        "$schema": SCHEMA,
        "data": {"values": DATA},
        "title": {
            "text": TITLE,
            "subtitle": "Standard deviations of real draws between a control and the floor; white: not seen (below 3).",
        },
        "transform": [
            {"fold": list(names), "as": ["metric", "text"]},
            {"calculate": "toNumber(datum.text)", "as": "z"},
            {"calculate": f"{json.dumps(names, ensure_ascii=False)}[datum.metric]", "as": "label"},
            {"filter": "isValid(datum.z)"},
        ],
        "facet": {"row": {"field": "rev", "sort": None, "title": None}},
        "spec": {
            "width": {"step": 46},
            "height": {"step": 22},
            "encoding": cells,
            "layer": [
                {"transform": [{"filter": "datum.z >= 3"}], "mark": "rect", "encoding": {"color": colour}},
                {
                    "mark": {"type": "text", "fontSize": 10},
                    "encoding": {
                        "text": {"value": {"expr": "abs(datum.z) > 999 ? (datum.z > 0 ? '>999' : '<-999') : format(datum.z, '.1f')"}},
                        "color": {"value": {"expr": "datum.z > 60 ? 'white' : '#222'"}},
                    },
                },
            ],
        },
    }


def _signed(metric: str) -> bool:
    return "mmd2" in metric


def _rows(field: str, sort: list[str] | None, *, labelled: bool) -> Spec:
    """A row a value of `field`, in it a row a revision."""
    axis = {"labelLimit": 300, "labels": labelled, "ticks": False, "domain": False}
    return {
        "y": {"field": field, "type": "nominal", "sort": sort, "title": None, "axis": axis},
        "yOffset": {"field": "rev", "sort": None},
    }


def _at(field: str, metric: str) -> Spec:
    scale: Spec = {"zero": False, "nice": False, "padding": 8}
    axis: Spec = {"tickCount": 4, "labelFlush": False, "labelOverlap": True}
    if _signed(metric):
        scale = {"type": "symlog", "constant": LINEAR_WITHIN, "nice": False, "padding": 8}
        axis |= {"values": sorted(POWERS), "labelExpr": "datum.value ? format(datum.value, '.0e') : '0'"}
    elif METRICS[metric].log:
        scale = {"type": "log", "nice": False, "padding": 8}
        axis |= {"format": "~g", "gridOpacity": {"condition": {"test": "datum.label", "value": 1}, "value": 0}}
    return {"x": {"field": field, "type": "quantitative", "title": None, "scale": scale, "axis": axis}}


def _span(start: str, end: str, metric: str) -> Spec:
    return {**_at(start, metric), "x2": {"field": end}}


def _told(field: str, title: str | None = None) -> Spec:
    return {"field": field, "title": title or field}


def _panel_title(text: str) -> Spec:
    return {"text": text.split("\n"), "fontSize": 12, "fontWeight": "normal", "anchor": "start", "offset": 6}


TEMPLATES = {"intervals.json": intervals, "differences.json": differences, "controls.json": controls}


def main() -> None:
    """Write every template beside this script."""
    for name, template in TEMPLATES.items():
        (HERE / name).write_text(json.dumps(template(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
