"""Tables of the evaluation: every method on every metric beside what real images reach, and what the metrics can see."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from toycrystals.figures.style import (
    DPI,
    SMALL,
    TEXT,
    TITLE,
    WIDTH,
    Floats,
    method_colours,
    method_label,
    method_marker,
    note,
    ordered_methods,
    tidy,
    value_axis,
)
from toycrystals.metrics.catalogue import AT_FLOOR

_COLUMNS = 4
_BLOCK, _LABEL = 16, 28  # columns of controls side by side; letters of a label in a line
_SEEN, _MOST = 3.0, 1000.0  # the range of z that has a colour
_NOTE = (
    "Dot: value with 95 % interval; hollow: at the floor. Line: mean of fresh real images, band: to their worst 5 %. "
    "Arrow: the better way. -: no value."
)


class Panel(NamedTuple):
    """How a metric is shown: its name, its unit ("" for a bare number), and whether its axis is logarithmic."""

    label: str
    unit: str = ""
    log: bool = False


def draw_estimates(table: pd.DataFrame, metrics: Mapping[str, Panel]) -> Figure:
    """One panel a metric, one row a method: the value with its interval beside what fresh real images reach.

    `table`, one row a method, metric and type, of which `all` is drawn: method, metric, type, value, low, high, floor,
    ceiling, sd, q95, verdict. A metric has a floor where lower is better, a ceiling where higher is.
    """
    table = table[table["type"] == "all"]
    methods = ordered_methods(table["method"])
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    width = 1.6 + (WIDTH - 1.6) * columns / _COLUMNS
    lines = max(_panel_title(panel).count("\n") for panel in metrics.values())
    height = 0.35 + rows * (0.55 + 0.12 * lines + 0.17 * len(methods))
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    colours = method_colours(methods)
    for axes, (metric, panel) in zip(panels, metrics.items(), strict=False):
        found = table[table["metric"] == metric].set_index("method").reindex(methods)
        _draw_panel(axes, found, panel, colours)
    for axes in panels[len(metrics) :]:
        axes.remove()
    note(figure, _NOTE)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, panel: Panel, colours: Mapping[str, str]) -> None:
    """The rows of one metric, indexed by method; NaN where a method has no value."""
    numbers = rows[["value", "low", "high", "floor", "ceiling", "sd", "q95"]].astype(float)
    value, low, high, floor, ceiling, sd, q95 = numbers.to_numpy().T
    _draw_real(axes, np.where(np.isfinite(floor), floor, ceiling), q95)
    for y, (method, colour) in enumerate(colours.items()):
        if not np.isfinite(value[y]):
            axes.text(0.5, y, "-", transform=axes.get_yaxis_transform(), ha="center", va="center", fontsize=TITLE, color="0.4")
            continue
        face = "white" if rows["verdict"].loc[method] == AT_FLOOR else colour
        axes.hlines(y, low[y], high[y], color=colour, linewidth=1.5)
        axes.plot(value[y], y, method_marker(method), markersize=5, color=colour, markerfacecolor=face, markeredgewidth=1.3)
    better = " ←" if np.isfinite(floor).any() else " →" if np.isfinite(ceiling).any() else ""
    tidy(axes, _panel_title(panel) + better, grid="x")
    axes.title.set_fontsize(TEXT)
    drawn = np.concatenate([value, low, high, floor, ceiling, q95])
    value_axis(axes, "x", drawn, log=panel.log, linear=float(np.nanmax(sd, initial=0.0)))
    axes.set_yticks(range(len(colours)), [method_label(method) for method in colours], fontsize=TEXT)
    axes.set_ylim(len(colours) - 0.5, -0.5)


def _panel_title(panel: Panel) -> str:
    """Broken to the width of a panel, with room for the arrow."""
    return textwrap.fill(panel.label + (f", {panel.unit}" if panel.unit else ""), 26)


def _draw_real(axes: Axes, mean: Floats, q95: Floats) -> None:
    """What real images reach, [rows]: a line at the mean, a band to the 95th percentile; a row without one takes another's."""
    start, end = (pd.Series(column).ffill().bfill().to_numpy() for column in (mean, q95))
    y = np.arange(len(mean))
    banded = np.isfinite(start) & np.isfinite(end)
    axes.barh(y[banded], (end - start)[banded], height=1.0, left=start[banded], color="0.9", zorder=0)
    axes.vlines(start, y - 0.5, y + 0.5, color="0.6", linewidth=1.0, zorder=1)


def draw_controls(z: pd.DataFrame, labels: Mapping[str, str], groups: Mapping[str, str] | None = None) -> Figure:
    """What the metrics see: z [control, metric], how many standard deviations of real draws a control stands from the floor.

    Positive is caught, NaN not applicable. `groups`, {metric: group}, puts the columns of a group together; more columns than
    a page is wide go on in further blocks below.
    """
    groups = groups or {}
    names = list(dict.fromkeys(groups.get(metric, "") for metric in z.columns))
    metrics = sorted(z.columns, key=lambda metric: names.index(groups.get(metric, "")))
    n_blocks = -(-len(metrics) // _BLOCK)
    most = -(-len(metrics) // n_blocks)
    written = {metric: textwrap.fill(labels.get(metric, metric), _LABEL) for metric in metrics}
    margin = 0.3 + 0.062 * max(len(str(control)) for control in z.index)
    header = 0.3 + 0.045 * max(len(line) for label in written.values() for line in label.split("\n"))
    cell = np.clip((WIDTH - margin - header) / most, 0.38, 0.6)
    height = 0.3 + n_blocks * (header + 0.35 + 0.21 * len(z))
    figure = Figure(figsize=(margin + header + cell * most, height), dpi=DPI, layout="constrained")
    blocks = np.array_split(np.array(metrics, dtype=object), n_blocks)
    for axes, block in zip(figure.subplots(n_blocks, 1, squeeze=False).ravel(), blocks, strict=True):
        _draw_cells(axes, z[list(block)].to_numpy(dtype=float))
        _label_cells(axes, [str(control) for control in z.index], [written[metric] for metric in block])
        _label_groups(axes, [groups.get(metric, "") for metric in block])
        axes.set_xlim(-0.5, most - 0.5)
    note(
        figure,
        "Standard deviations of real draws between a control and the floor, cut and not rounded; positive: caught; white: not "
        "seen (below 3); grey: not applicable.",
    )
    return figure


def _draw_cells(axes: Axes, values: Floats) -> None:
    """Values [C, M] as coloured cells, each with its number; the first row at the top."""
    cells = np.ma.masked_invalid(np.clip(values, 1e-3, _MOST))
    colours = colormaps["YlGnBu"].with_extremes(under="white", bad="0.88")
    x, y = (np.arange(n + 1) - 0.5 for n in values.shape[::-1])
    axes.pcolormesh(x, y, cells, cmap=colours, norm=LogNorm(_SEEN, _MOST), edgecolors="0.85", linewidth=0.4)
    axes.set_ylim(len(values) - 0.5, -0.5)
    for (r, c), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(c, r, z_text(value), ha="center", va="center", fontsize=SMALL, color="white" if value > 60 else "0.15")


def z_text(z: float) -> str:
    """As many digits as fit a cell, cut and not rounded, so that what reads 3 has reached 3."""
    if abs(z) >= _MOST:
        return ">999" if z > 0 else "<-999"
    digits = 1 if abs(z) < 10 else 0
    cut = np.trunc(z * 10**digits + np.copysign(1e-9, z)) / 10**digits
    return f"{cut + 0.0:.{digits}f}".removesuffix(".0")


def _label_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows, fontsize=TEXT)
    axes.set_xticks(range(len(columns)), columns, fontsize=TEXT, rotation=45, ha="left", va="center", rotation_mode="anchor")
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=5)
    axes.spines[:].set_visible(False)


def _label_groups(axes: Axes, groups: Sequence[str]) -> None:
    """A line between the columns of two groups, and the name of each below its columns."""
    ends = [c for c in range(1, len(groups)) if groups[c] != groups[c - 1]]
    for end in ends:
        axes.axvline(end - 0.5, color="0.2", linewidth=1.2)
    for start, end in zip([0, *ends], [*ends, len(groups)], strict=True):
        middle = (start + end - 1) / 2
        axes.annotate(
            groups[start], (middle, 0.0), (0, -4), ("data", "axes fraction"), "offset points",
            ha="center", va="top", fontsize=TEXT,
        )  # fmt: skip
