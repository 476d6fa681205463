"""The charts of the results, each described once: charts.yaml says how they look, this module what they show.

A chart is a template of `dvc plots`: DVC's anchors stand where rows and colours belong. DVC puts in the rows of all revisions,
and a colour a revision; `filled` the rows of one, and a colour a method, as figures and the report show them.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from toycrystals.metrics.comparison import PAIRED
from toycrystals.metrics.measures import AT_FLOOR, MEASURES, PRIMARY
from toycrystals.results.catalogue import CONTROL_CHART, CONTROL_LABELS, QUANTITIES, label_of, titled
from toycrystals.results.style import LABELS, colour_scale, method_colours, ordered_methods, type_colours
from toycrystals.results.vega import Spec, chart, piece, put, records

_ARROWS = {"higher": "\u00a0→", "lower": "\u00a0←", "near": ""}
# What a training curve runs along.
_ALONG = ("neighbours", "epoch")
# Of curves on a logarithmic axis, or not.
_CURVES = {True: {"scale": "log", "drawn": "datum.y > 0"}, False: {"scale": "linear", "drawn": "isValid(datum.y)"}}


def intervals(metrics: Sequence[str]) -> Spec:
    """A panel a metric, a row a method and revision: the value with its interval on what fresh real images reach.

    For table.csv: method, metric, type, value, low, high, floor, ceiling, q95, p, p_holm, verdict.
    """
    columns = min(4, len(metrics))
    width = min(260, 760 // columns - 18)
    options = {"width": width, "middle": width / 2, "order": list(LABELS.values())}
    panels = [_panel("intervals panel", metric, "x", labelled=i % columns == 0, **options) for i, metric in enumerate(metrics)]
    return chart("intervals", panels=panels, at_floor=AT_FLOOR, methods=LABELS)


def differences() -> Spec:
    """A panel a metric, a row a pair of methods and revision: the paired difference with its interval.

    For pairs.csv: metric, a, b, difference, low, high, p_holm.
    """
    options = {"width": 220, "order": None}
    panels = [_panel("differences panel", metric, "x", labelled=metric == PAIRED[0], **options) for metric in PAIRED]
    return chart("differences", panels=panels, methods=LABELS)


def controls() -> Spec:
    """A row a control, a column a metric: how many standard deviations of real draws stand between it and the floor.

    For controls.csv: method, and a column a metric.
    """
    metrics, names = {metric: label_of(metric).label for metric in CONTROL_CHART}, LABELS | CONTROL_LABELS
    axes = {"columns": list(metrics.values()), "rows": list(names.values())}
    return chart("controls", metrics=list(metrics), metric_labels=metrics, controls=names, **axes)


def steps() -> Spec:
    """Quality against evaluations of the network: a panel a lattice type, and the MMD^2 of all; a line a method and revision.

    For steps.csv: method, steps, type, psnr, low, high, and on the rows of type `all` mmd2.
    """
    of_types = _panel("steps panel", PRIMARY[0], "y", width=114, value="psnr", low="low", high="high")
    # MMD^2 has no interval.
    of_all = _panel("steps panel", PRIMARY[1], "y", width=190, value="mmd2", low="mmd2", high="mmd2")
    return chart("steps", panels=[of_types, of_all], methods=LABELS)


def curve(*, log: bool = False) -> Spec:
    """Any columns of a table against another; where the axis is logarithmic, what has no logarithm is not drawn."""
    return chart("curve", **_CURVES[log])


def training(curves: Mapping[str, pd.DataFrame]) -> Spec:
    """Training curves, {name of a model: table of epoch and losses}: a panel a quantity; one fitted at once has no curve.

    One that tried numbers of neighbours has a row for each of these.
    """
    panels = []
    for model, table in curves.items():
        wanted = dict.fromkeys(str(name).removeprefix("val_") for name in table.columns if name not in _ALONG)
        panels += [_training_panel(model, name, table) for name in wanted if len(table) > 1]
    return chart("training", panels=panels)


def _training_panel(model: str, name: str, table: pd.DataFrame) -> Spec:
    """One quantity of a model, on training data, on held-out data (`val_` and its name), or on both."""
    along = next(column for column in _ALONG if column in table)
    lines = {line: column for line, column in (("training", name), ("held out", f"val_{name}")) if column in table}
    rows = pd.concat([table[[along]].assign(value=table[column], field=line) for line, column in lines.items()])
    # More than a factor of four is read on a logarithmic axis.
    log = bool(0 < 4 * rows["value"].min() < rows["value"].max())
    title = f"{model}: {QUANTITIES.get(name, name)}" + ("" if "training" in lines else ", held out")
    panel = piece("curve", **_CURVES[log]) | {"title": _title(title, 245), "width": 245, "height": 150}
    return filled(panel, rows, x=along, y="value", x_label=along, y_label="")


def filled(template: Spec, rows: pd.DataFrame | Sequence[Mapping[str, Any]], title: str = "", **anchors: Any) -> Spec:
    """A chart of the rows of one revision; `anchors` are others of DVC's, such as x="epoch"."""
    table = pd.DataFrame(rows).assign(rev="")
    values = {"title": title, "color": _colour(table), "stroke_dash": {}, "data": records(table), **anchors}
    # There is no other revision that a tooltip would have to tell it from.
    one = json.loads(json.dumps(template).replace('{"field": "rev"}, ', ""))
    spec: Spec = put(one, {f"<DVC_METRIC_{name.upper()}>": value for name, value in values.items()})
    if "subtitle" in spec["title"] and not title:
        spec["title"] = piece("note", text=spec["title"]["subtitle"])
    return spec


def _colour(table: pd.DataFrame) -> Spec:
    """A colour a method, or a line of a curve; one for all where there are neither."""
    if "method" in table:
        field, colours, legend = "label", method_colours(ordered_methods(table["method"])), Spec()
    elif "field" in table:
        field, colours, legend = "field", type_colours(table["field"]), {"orient": "top-right"}
    else:
        return {"value": "#0055a4"}
    # Where there are several metrics, rows say which method they are.
    told = len(colours) > 1 and "metric" not in table
    return {"field": field, "type": "nominal", "title": None, "scale": colour_scale(colours), "legend": legend if told else None}


def _panel(name: str, metric: str, channel: str, **values: Any) -> Spec:
    """A panel of one metric, whose values stand along x or y."""
    low, high = (f"domain('{metric}_{channel}')[{end}]" for end in (0, 1))
    axis = piece("log axis", low=low, high=high) if label_of(metric).log else piece("axis")
    arrow = _ARROWS[MEASURES[metric].better] if metric in MEASURES else ""
    return piece(name, metric=metric, title=_title(titled(metric) + arrow, values["width"]), axis=axis, **values)


def _title(text: str, width: int) -> Spec:
    return piece("title", title=textwrap.wrap(text, width // 6))
