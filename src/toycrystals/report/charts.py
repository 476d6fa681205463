"""The report's interactive charts: metrics with intervals and floors, training curves, quality against evaluations."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.colors import to_hex

from toycrystals.figures.style import REFERENCES, method_colours, method_label, type_colours
from toycrystals.metrics.catalogue import AT_FLOOR, CHART, PRIMARY
from toycrystals.metrics.truth import ALL
from toycrystals.report.collect import VAE_CURVE, Results
from toycrystals.report.formats import Form, describe, form_of
from toycrystals.report.vega import Chart, Spec, base, scale

_ROW = 24  # pixels a method
_VAE_STAGE = VAE_CURVE.parent.name
_TOOLTIP = {
    "method": "method",
    "value": "value",
    "interval": "95 % interval",
    "real": "real images, mean",
    "worst": "their worst 5 %",
    "verdict": "verdict",
}
_STEPS_TOOLTIP = {"type": "type", "evaluations": "evaluations", "value": "value", "interval": "95 % interval"}
_QUANTITIES = {
    "total": ("loss", ""),
    "reconstruction": ("squared error a pixel", ""),
    "kl": ("KL", ", nats an image"),
    "psnr": ("PSNR", ", dB"),
}


def metric_charts(results: Results) -> list[Chart]:
    """A panel a metric of the catalogue's chart, a row a method."""
    return [_panel(metric, results.metric(metric), results.methods) for metric in CHART if metric in results.metrics]


def _panel(metric: str, rows: pd.DataFrame, methods: list[str]) -> Chart:
    """One metric; `rows` are indexed by method. A method without a value says so."""
    known = describe(metric)
    labels = [method_label(name) for name in methods]
    numbers = rows[["value", "low", "high", "floor", "ceiling", "q95"]].to_numpy(dtype=float)
    x = {"type": "quantitative", "title": None, **scale(numbers.ravel(), known.log, float(rows["sd"].max()))}
    y = {"field": "method", "type": "nominal", "sort": labels, "title": None, "scale": {"domain": labels}}
    form, found = form_of(metric, rows), rows.to_dict("index")
    values = [{"method": method_label(name), **(_row(found[name], form) if name in found else {})} for name in methods]
    for name, value in zip(methods, values, strict=True):
        value["shape"] = "square" if name in REFERENCES else "circle"
    layers = [*_real_images(x), *_estimates(x, labels, [to_hex(colour) for colour in method_colours(methods).values()])]
    if absent := [value for value in values if "v" not in value]:
        text = {"type": "text", "text": "no value", "align": "left", "color": "#767676", "fontSize": 11}
        layers.append({"data": {"values": absent}, "mark": text, "encoding": {"x": {"value": 4}}})
    better = {"higher": "higher is better", "lower": "lower is better", "near": "best near real images"}[known.better]
    title = f"{known.label}, {known.unit}" if known.unit else known.label
    spec = base(f"{title} of every method", values, len(methods) * _ROW)
    return Chart(title, {**spec, "encoding": {"y": y}, "layer": layers}, better)


def _row(row: Mapping[Hashable, Any], form: Form) -> Spec:
    """The data of one method: places on the axis where there are some, and what the tooltip says."""
    mean = row["floor"] if math.isfinite(row["floor"]) else row["ceiling"]
    places = {"v": row["value"], "l": row["low"], "h": row["high"], "mean": mean, "q95": row["q95"]}
    words = {"value": form.quantity(row["value"]), "interval": form.interval(row["low"], row["high"])}
    if math.isfinite(mean):
        words |= {"real": form.quantity(mean), "worst": form.quantity(row["q95"])}
        words["verdict"] = row["verdict"] if isinstance(row["verdict"], str) and row["verdict"] else f"not {AT_FLOOR}"
    return {
        **{name: float(place) for name, place in places.items() if math.isfinite(place)},
        **words,
        "hollow": row["verdict"] == AT_FLOOR,
    }


def _real_images(x: Spec) -> list[Spec]:
    """A band from the mean of fresh real images to their worst 5 %, and a line at the mean."""
    mean = {"field": "mean", **x}
    return [
        {"mark": {"type": "rect", "color": "#e4e4e4"}, "encoding": {"x": mean, "x2": {"field": "q95"}}},
        {"mark": {"type": "tick", "color": "#8a8a8a", "thickness": 1.5, "size": _ROW}, "encoding": {"x": mean}},
    ]


def _estimates(x: Spec, labels: list[str], colours: list[str]) -> list[Spec]:
    """A mark a method on its interval, hollow at the floor."""
    colour = {"field": "method", "scale": {"domain": labels, "range": colours}, "legend": None}
    tooltip = [{"field": field, "title": title} for field, title in _TOOLTIP.items()]
    interval = {"x": {"field": "l", **x}, "x2": {"field": "h"}, "color": colour, "tooltip": tooltip}
    point = {
        "x": {"field": "v", **x},
        "color": colour,
        "fill": {"condition": {"test": "datum.hollow", "value": "white"}, **colour},
        "shape": {"field": "shape", "scale": None},
        "tooltip": tooltip,
    }
    return [
        {"mark": {"type": "rule", "strokeWidth": 2.5}, "encoding": interval},
        {"mark": {"type": "point", "size": 70, "strokeWidth": 2, "opacity": 1}, "encoding": point},
    ]


def training_charts(curves: Mapping[str, pd.DataFrame]) -> list[Chart]:
    """A panel a quantity; one that was measured on held-out data, too, has both lines."""
    return [
        _curve(stage, name, table)
        for stage, table in sorted(curves.items(), key=lambda item: item[0] != _VAE_STAGE)
        for name in map(str, table.columns)
        if name != "epoch" and not (name.startswith("val_") and name.removeprefix("val_") in table)
    ]


def _curve(stage: str, name: str, table: pd.DataFrame) -> Chart:
    held_out = name.startswith("val_")
    columns = {"held out" if held_out else "training": name}
    if f"val_{name}" in table:
        columns["held out"] = f"val_{name}"
    rows: list[Spec] = [
        {"epoch": int(epoch), "value": float(value), "data": data}
        for data, column in columns.items()
        for epoch, value in zip(table["epoch"], table[column], strict=True)
        if math.isfinite(value)
    ]
    values = [row["value"] for row in rows]
    log = bool(values) and min(values) > 0 and max(values) > 10 * min(values)
    model = "VAE" if stage == _VAE_STAGE else method_label(stage.removeprefix("train_"))
    quantity, unit = _QUANTITIES.get(name.removeprefix("val_"), (name.removeprefix("val_"), ""))
    title = f"{model}: {quantity}{', held out' if held_out else ''}{unit}"
    encoding = {
        "x": {
            "field": "epoch",
            "type": "quantitative",
            "title": "epoch",
            "axis": {"tickMinStep": 1, "tickCount": 5, "grid": False},
        },
        "y": {"field": "value", "type": "quantitative", "title": None, **scale(values, log)},
        "color": {
            "field": "data",
            "scale": {"domain": ["training", "held out"], "range": ["#0055a4", "#c25700"]},
            "legend": {"orient": "top", "title": None} if len(columns) > 1 else None,
        },
        "tooltip": [{"field": "data"}, {"field": "epoch"}, {"field": "value", "format": ".4g"}],
    }
    mark = {"type": "line", "strokeWidth": 2, "point": {"size": 18, "filled": True}}
    return Chart(title, {**base(f"Training curve: {title}", rows, 170), "mark": mark, "encoding": encoding})


def steps_charts(results: Results) -> list[Chart]:
    """Both primary metrics against the number of evaluations; lines across are the references' values."""
    charts = []
    for metric, columns in zip(PRIMARY, (["psnr", "low", "high"], ["mmd2", "mmd2_low", "mmd2_high"]), strict=True):
        rows = results.steps.dropna(subset=columns[:1])[["type", "steps", *columns]]
        rows = rows.set_axis(["type", "steps", "value", "low", "high"], axis=1)
        if len(rows):
            values = results.metric(metric)["value"].reindex(REFERENCES).dropna()
            charts.append(_against_steps(metric, rows, {str(name): float(value) for name, value in values.items()}))
    return charts


def _against_steps(metric: str, rows: pd.DataFrame, bounds: Mapping[str, float]) -> Chart:
    """`rows`: type, steps, value, low, high; `bounds`: {reference: value}."""
    known, form = describe(metric), form_of(metric, rows)
    kinds = list(dict.fromkeys(rows["type"]))
    colours, names = type_colours(kinds), {kind: "all types" if kind == ALL else kind for kind in kinds}
    values: list[Spec] = [
        {
            "type": names[row["type"]],
            "evaluations": int(row["steps"]),
            "v": row["value"],
            "l": row["low"],
            "h": row["high"],
            "value": form.quantity(row["value"]),
            "interval": form.interval(row["low"], row["high"]),
        }
        for row in rows.to_dict("records")
    ]
    half = float(((rows["high"] - rows["low"]) / 2).median())
    x = {
        "field": "evaluations",
        "type": "quantitative",
        "title": "network evaluations",
        "scale": {"type": "log", "nice": False, "padding": 12},
        "axis": {"values": sorted({int(n) for n in rows["steps"]}), "labelOverlap": "greedy", "grid": False},
    }
    drawn = [*rows[["value", "low", "high"]].to_numpy().ravel(), *bounds.values()]
    y = {"field": "v", "type": "quantitative", "title": None, **scale(drawn, known.log, half)}
    domain = {"domain": list(names.values()), "range": [to_hex(colours[kind]) for kind in names]}
    legend = {"orient": "top", "title": None, "columns": 3} if len(names) > 1 else None
    colour = {"field": "type", "scale": domain, "legend": legend}
    tooltip = [{"field": field, "title": title} for field, title in _STEPS_TOOLTIP.items()]
    lines = _references(bounds, y)
    layers = [
        *lines,
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": {**y, "field": "l"}, "y2": {"field": "h"}, "color": colour},
        },
        {
            "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 40, "filled": True}},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
        },
    ]
    title = f"{known.label}, {known.unit}" if known.unit else known.label
    return Chart(title, {**base(f"{title} against network evaluations", values, 260), "layer": layers})


def _references(bounds: Mapping[str, float], y: Spec) -> list[Spec]:
    """Broken lines across; the upper one is named above, the others below, so that names of near ones do not meet."""
    colours = method_colours(bounds)
    layers: list[Spec] = []
    for name, value in bounds.items():
        upper = value == max(bounds.values())
        text = {"type": "text", "align": "left", "baseline": "bottom" if upper else "top", "dy": -3 if upper else 4}
        layers.append(
            {
                "data": {"values": [{"v": value, "name": method_label(name)}]},
                "encoding": {"y": y},
                "layer": [
                    {"mark": {"type": "rule", "strokeDash": [5, 4], "color": to_hex(colours[name]), "strokeWidth": 1.5}},
                    {
                        "mark": {**text, "color": "#444", "fontSize": 11},
                        "encoding": {"x": {"value": 2}, "text": {"field": "name"}},
                    },
                ],
            }
        )
    return layers
