"""What the report's Vega-Lite charts share: the look, and scales whose axes show a few round numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_CONFIG: Spec = {
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": "#444",
        "titleColor": "#444",
        "gridColor": "#ececec",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {"labelFontSize": 12, "labelLimit": 0, "symbolStrokeWidth": 2},
}
# 0 and what is neither large nor small as it is, the rest as 1e-6.
_LABELS = "datum.value == 0 ? '0' : format(datum.value, abs(datum.value) < 1e-3 || abs(datum.value) >= 1e5 ? '~e' : '~g')"


@dataclass(frozen=True)
class Chart:
    """A chart with its heading; `text` says how to read it."""

    title: str
    spec: Spec
    text: str = ""


def base(description: str, values: list[Spec], height: int) -> Spec:
    """What all charts have: as wide as their place, `height` pixels high; `description` is for those who do not see them."""
    return {
        "$schema": _SCHEMA,
        "description": description,
        "config": _CONFIG,
        "data": {"values": values},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def scale(values: Iterable[float], log: bool, linear: float = math.nan) -> Spec:
    """Scale and axis for `values`; a logarithmic one with values <= 0 is linear within +-`linear`, logarithmic beyond."""
    known = [float(value) for value in values if math.isfinite(value)]
    axis: Spec = {"tickCount": 4, "labelExpr": _LABELS, "labelFlush": True, "labelOverlap": "greedy", "labelSeparation": 6}
    if not log or not known or max(known) <= 0:
        return {"scale": {"zero": False, "nice": False, "padding": 10}, "axis": axis}
    if min(known) > 0:
        return {"scale": {"type": "log", "nice": False, "padding": 10}, "axis": axis | _round(min(known), max(known))}
    if not linear > 0:
        linear = min((abs(value) for value in known if value), default=1.0)
    powers = [10.0**e for e in range(math.ceil(math.log10(linear)), math.floor(math.log10(max(known))) + 1)]
    ticks = [-power for power in powers[:1] if -power >= min(known)] + [0.0] + powers[:: max(1, math.ceil(len(powers) / 3))]
    return {"scale": {"type": "symlog", "constant": linear, "nice": False, "padding": 10}, "axis": {**axis, "values": ticks}}


def _round(low: float, high: float) -> Spec:
    """At most four round numbers for a logarithmic axis; where the range holds hardly any, Vega's own."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{m}e{e}") for e in exponents for m in multiples if low <= float(f"{m}e{e}") <= high]
        if len(ticks) <= 4:
            break
    return {"values": ticks} if len(ticks) > 1 else {}
