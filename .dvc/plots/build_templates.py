"""Write the templates of `dvc plots` that follow from others: log_curve.json from curve.json, and those whose panels are metrics.

Names, units, scales and directions of metrics come from their catalogue. ``make plots-page`` runs this.
"""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from toycrystals.figures.style import LABELS
from toycrystals.metrics.catalogue import CHART, CONTROL_CHART, METRICS, PRIMARY

HERE = Path(__file__).parent
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
# What DVC puts in their place: the rows of all revisions, and a colour a revision.
DATA, TITLE, COLOR = ("<DVC_METRIC_DATA>", "<DVC_METRIC_TITLE>", "<DVC_METRIC_COLOR>")
COLUMNS = 4
# An unbiased MMD^2 may be negative: its axis is linear within a few of its standard deviations, and logarithmic beyond.
LINEAR_WITHIN = 1e-5
SIGNED_TICKS = [*(-(10.0**power) for power in range(-1, -6, -1)), 0.0, *(10.0**power for power in range(-5, 1))]
LOG_TICKS = [float(f"{first}e{power}") for power in range(-7, 4) for first in (1, 2, 5)]
ARROWS = {"higher": "\u00a0→", "lower": "\u00a0←", "near": ""}
NO_TITLES = {"legend": {"orient": "top", "title": None}}

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
                "Dot: value with 95 % interval; hollow: at the floor. Line: mean of fresh real images, grey: to their worst 5 %.",
                "Arrow: the better way. No dot: the method has no such metric.",
            ],
        },
        "config": NO_TITLES,
        "transform": [
            {"filter": "datum.type === 'all'"},
            # So that every panel has a row for every method.
            {"impute": "value", "key": "method", "groupby": ["rev", "metric"], "value": None},
            _named("method", "label"),
            {"calculate": "isValid(datum.floor) ? datum.floor : datum.ceiling", "as": "real"},
        ],
        "columns": COLUMNS,
        "spacing": {"row": 24, "column": 24},
        "concat": [_metric_panel(metric, labelled=i % COLUMNS == 0) for i, metric in enumerate(CHART)],
    }


def _metric_panel(metric: str, *, labelled: bool) -> Spec:
    """The rows of one metric; `labelled` panels name the methods."""
    drawn: list[Spec] = [{"filter": f"datum.metric === '{metric}'"}]
    if METRICS[metric].log and not _signed(metric):
        drawn += [_if_positive(field, "null") for field in ("value", "high", "real", "q95")]
        drawn.append(_if_positive("low", "datum.value"))
    real: list[Spec] = [
        {
            "mark": {"type": "bar", "color": "#e4e4e4", "height": {"band": 1}},
            "encoding": {"x": {"field": "real"}, "x2": {"field": "q95"}},
        },
        {
            "mark": {"type": "tick", "color": "#999", "thickness": 1.5, "bandSize": 14},
            "encoding": {"x": {"field": "real"}},
        },
    ]
    told = {"rev": "revision", "label": "method", "value": "value", "low": "from", "high": "to", "real": "fresh real images"}
    return {
        "title": _panel_title(_label(metric), ARROWS[METRICS[metric].better]),
        "width": 230,
        "height": {"step": 14, "for": "offset"},
        "transform": drawn,
        "encoding": {**_rows("label", sort=list(LABELS.values()), labelled=labelled), "x": _axis(metric)},
        "layer": [*real, *_estimate("value", "datum.verdict === 'at floor'", told)],
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
        "config": NO_TITLES,
        "transform": [_named("a"), _named("b"), {"calculate": "datum.a + ' − ' + datum.b", "as": "pair"}],
        "spacing": 24,
        "hconcat": [_difference_panel(metric, labelled=i == 0) for i, metric in enumerate(PRIMARY)],
    }


def _difference_panel(metric: str, *, labelled: bool) -> Spec:
    x = _axis(metric)
    x["axis"]["gridColor"] = {"condition": {"test": "datum.value === 0", "value": "#888"}, "value": "#e8e8e8"}
    told = {name: name for name in ("pair", "difference", "low", "high", "p")}
    return {
        "title": _panel_title(_label(metric)),
        "width": 380,
        "height": {"step": 12, "for": "offset"},
        "transform": [{"filter": f"datum.metric === '{metric}'"}],
        "encoding": {**_rows("pair", sort=None, labelled=labelled), "x": x},
        "layer": _estimate("difference", "datum.p >= 0.05", {"rev": "revision", **told}),
    }


def _estimate(field: str, hollow: str, told: dict[str, str]) -> list[Spec]:
    """Interval and dot in the revision's colour; a dot is hollow where the expression `hollow` holds.

    `told`, {field: title}, is shown at the dot.
    """
    known = {"filter": f"isValid(datum.{field})"}
    tooltip = [{"field": name, "title": title} for name, title in told.items()]
    return [
        {
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
            "mark": {"type": "rule", "strokeWidth": 1.8},
            "encoding": {"x": {"field": "low"}, "x2": {"field": "high"}, "color": COLOR},
        },
        {
            "transform": [known],
            "mark": {"type": "circle", "size": 60, "opacity": 1},
            "encoding": {"x": {"field": field}, "color": COLOR, "tooltip": tooltip},
        },
        {
            "transform": [known],
            "mark": {"type": "circle", "color": "white", "opacity": 1},
            "encoding": {
                "x": {"field": field},
                "size": {"condition": {"test": hollow, "value": 18}, "value": 0},
                "tooltip": tooltip,
            },
        },
    ]


def controls() -> Spec:
    """One row a control, one column a metric: how many standard deviations of real draws stand between it and the floor.

    For controls.csv: method, and a column a metric.
    """
    names = {metric: METRICS[metric].label for metric in CONTROL_CHART}
    bare = {"domain": False, "ticks": False, "labelLimit": 260}
    columns = {"field": "label", "type": "nominal", "sort": list(names.values()), "title": None}
    rows = {"field": "method", "type": "nominal", "sort": None, "title": None, "axis": bare}
    # Cut and not rounded, so that what reads 3.0 has reached 3, as in controls.png.
    cut = "(datum.z > 0 ? floor(10 * datum.z) : ceil(10 * datum.z)) / 10"
    number = f"abs(datum.z) > 999 ? (datum.z > 0 ? '>999' : '<-999') : format({cut}, '.1f')"
    return {
        "$schema": SCHEMA,
        "data": {"values": DATA},
        "title": {
            "text": TITLE,
            "subtitle": "Standard deviations of real draws from the floor to a control, cut, not rounded; white: not seen (< 3).",
        },
        "transform": [
            {"fold": list(names), "as": ["metric", "text"]},
            {"calculate": "toNumber(datum.text)", "as": "z"},
            {"calculate": f"{json.dumps(names, ensure_ascii=False)}[datum.metric]", "as": "label"},
            {"filter": "isValid(datum.z)"},
        ],
        "facet": {"row": {"field": "rev", "sort": [], "title": None}},
        "spec": {
            "width": {"step": 46},
            "height": {"step": 22},
            "encoding": {"x": {**columns, "axis": {**bare, "orient": "top", "labelAngle": -45}}, "y": rows},
            "layer": [
                {"transform": [{"filter": "datum.z >= 3"}], "mark": "rect", "encoding": {"color": _caught()}},
                {
                    "mark": {"type": "text", "fontSize": 10},
                    "encoding": {
                        "text": {"value": {"expr": number}},
                        "color": {"value": {"expr": "datum.z > 60 ? 'white' : '#222'"}},
                    },
                },
            ],
        },
    }


def _caught() -> Spec:
    """The colour of a fault that a metric sees."""
    return {
        "field": "z",
        "type": "quantitative",
        "title": None,
        "scale": {"type": "log", "domain": [3, 1000], "clamp": True, "range": ["#edf8b1", "#41b6c4", "#0c2c84"]},
        "legend": {"values": [3, 10, 30, 100, 300, 1000], "format": "d", "orient": "right", "gradientLength": 160},
    }


def log_curve() -> Spec:
    """curve.json with a logarithmic axis: what is smoothed is the logarithm, and what has none is not drawn."""
    curve = (HERE / "curve.json").read_text()
    for linear, logarithmic in (
        ('{"filter": "isValid(datum.y)"}', '{"filter": "datum.y > 0"}'),
        ('{"calculate": "datum.y", "as": "value"}', '{"calculate": "log(datum.y)", "as": "value"}'),
        ("? datum.smoothed :", "? exp(datum.smoothed) :"),
    ):
        assert linear in curve, linear
        curve = curve.replace(linear, logarithmic)
    template: Spec = json.loads(curve)
    template["encoding"]["y"] |= {
        "scale": {"type": "log", "nice": False},
        "axis": {"tickCount": 6, "format": "~g", "gridOpacity": {"condition": {"test": "datum.label", "value": 1}, "value": 0}},
    }
    return template


def _signed(metric: str) -> bool:
    return "mmd2" in metric


def _label(metric: str) -> str:
    return METRICS[metric].label + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")


def _named(field: str, name: str = "") -> Spec:
    """The methods of `field` as figures name them, in a field `name` or in the same."""
    return {"calculate": f"{json.dumps(LABELS, ensure_ascii=False)}[datum.{field}] || datum.{field}", "as": name or field}


def _if_positive(field: str, otherwise: str) -> Spec:
    """What a logarithmic axis cannot show is not drawn."""
    return {"calculate": f"datum.{field} > 0 ? datum.{field} : {otherwise}", "as": field}


def _rows(field: str, sort: list[str] | None, *, labelled: bool) -> Spec:
    """A row a value of `field`, in it a row a revision."""
    axis = {"labelLimit": 300, "labels": labelled, "ticks": False, "domain": False}
    return {
        "y": {"field": field, "type": "nominal", "sort": sort, "title": None, "axis": axis},
        "yOffset": {"field": "rev", "sort": None},
    }


def _axis(metric: str) -> Spec:
    """The axis that a metric's values are drawn along."""
    scale: Spec = {"nice": False, "padding": 8}
    axis: Spec = {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 5}
    if _signed(metric):
        scale |= {"type": "symlog", "constant": LINEAR_WITHIN}
        axis |= {"values": SIGNED_TICKS, "labelExpr": "datum.value ? format(datum.value, '.0e') : '0'"}
    elif METRICS[metric].log:
        scale |= {"type": "log"}
        axis |= {"values": LOG_TICKS, "format": "~g"}
    else:
        scale |= {"zero": False}
        axis |= {"tickCount": 4}
    return {"type": "quantitative", "title": None, "scale": scale, "axis": axis}


def _panel_title(label: str, arrow: str = "") -> Spec:
    return {"text": textwrap.wrap(label + arrow, 30), "fontSize": 12, "fontWeight": "normal", "anchor": "start", "offset": 6}


TEMPLATES = {
    "log_curve.json": log_curve,
    "intervals.json": intervals,
    "differences.json": differences,
    "controls.json": controls,
}


def text(template: Spec) -> str:
    """A template as JSON; what holds nothing but plain values stands on one line."""
    lines = json.dumps(template, indent=1, ensure_ascii=False) + "\n"
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda match: re.sub(r"\n\s*", " ", match[0]), lines)


def main() -> None:
    """Write every template beside this script."""
    for name, template in TEMPLATES.items():
        (HERE / name).write_text(text(template()))


if __name__ == "__main__":
    main()
