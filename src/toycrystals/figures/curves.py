"""One number against another: losses against epochs, quality against function evaluations or seconds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from toycrystals.figures.style import (
    DPI,
    SMALL,
    TEXT,
    WIDTH,
    legend,
    method_colours,
    method_label,
    note,
    tick_label,
    tidy,
    type_colours,
    value_axis,
)

_PSNR = "matched PSNR, dB"
_MMD2 = "MMD$^2$"


def draw_curves(vae: pd.DataFrame, diffusion: pd.DataFrame) -> Figure:
    """Training curves: the VAE's total loss, reconstruction and KL; the prior's loss on training and held-out latents."""
    figure = Figure(figsize=(WIDTH, 5.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2)
    _curve(panels[0, 0], vae, ["total"], "VAE: total loss", log=True)
    _curve(panels[0, 1], vae, ["reconstruction"], "VAE: reconstruction, mean squared error a pixel", log=True)
    _curve(panels[1, 0], vae, ["kl"], "VAE: KL, nats an image", log=False)
    _curve(panels[1, 1], diffusion, ["total", "val_total"], "diffusion prior: loss", log=True)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, columns: list[str], title: str, *, log: bool) -> None:
    for column, name in zip(columns, ("training", "held out"), strict=False):
        axes.plot(table["epoch"], table[column], label=name)
    tidy(axes, title)
    axes.set_xlabel("epoch", fontsize=TEXT)
    axes.set_yscale("log" if log else "linear")
    # A short logarithmic axis has labels at minor ticks, too.
    axes.tick_params(which="minor", labelsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(columns) > 1:
        axes.legend(fontsize=TEXT, frameon=False)


def draw_steps(
    table: pd.DataFrame, reference: Mapping[str, float] | None = None, mmd2_reference: Mapping[str, float] | None = None
) -> Figure:
    """Quality against the number of function evaluations of one prior's sampler.

    `table`: steps, type, psnr, low, high; on the rows of type `all` also mmd2, mmd2_low, mmd2_high. The references are
    horizontal lines, {method: value}: what no number of steps can pass.
    """
    figure = Figure(figsize=(WIDTH, 3.5), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = type_colours(table["type"])
    for kind, rows in table.groupby("type", sort=False):
        _line(left, rows.sort_values("steps"), ["psnr", "low", "high"], str(kind), colours[str(kind)])
    overall = table[table["type"] == "all"].sort_values("steps")
    _line(right, overall, ["mmd2", "mmd2_low", "mmd2_high"], "all", colours["all"])
    _references(left, reference or {})
    _references(right, mmd2_reference or {})
    _finish(left, _PSNR, table[["psnr", "low", "high"]], reference or {}, log=False)
    _finish(right, _MMD2, overall[["mmd2", "mmd2_low", "mmd2_high"]], mmd2_reference or {}, log=True)
    for axes in (left, right):
        axes.set_xlabel("number of function evaluations (NFE)", fontsize=TEXT)
        _steps_axis(axes, sorted(table["steps"].unique()))
    # A reference in both panels is named once.
    legend(figure, list({str(line.get_label()): line for line in (*left.lines, *right.lines)}.values()))
    note(figure, "Points: measured, with 95 % intervals.")
    return figure


def draw_wall_clock(table: pd.DataFrame) -> Figure:
    """Quality against what it costs: seconds for 4,096 codes, the steps written at each point; columns as in `draw_steps`."""
    figure = Figure(figsize=(WIDTH, 3.3), dpi=DPI, layout="constrained")
    rows = (table[table["type"] == "all"] if "type" in table else table).sort_values("steps")
    # The curves rise and bend right, or fall and bend left: the numbers stand on the hollow side.
    names = (_PSNR, ["psnr", "low", "high"], False, (4, -9)), (_MMD2, ["mmd2", "mmd2_low", "mmd2_high"], True, (4, 4))
    for axes, (title, columns, log, offset) in zip(figure.subplots(1, 2), names, strict=True):
        _line(axes, rows, columns, "all", type_colours([])["all"], x="seconds")
        _finish(axes, title, rows[columns], {}, log=log)
        value_axis(axes, "x", rows["seconds"], log=True)
        axes.set_xlabel("seconds for 4,096 codes", fontsize=TEXT)
        for steps, seconds, value in zip(rows["steps"], rows["seconds"], rows[columns[0]], strict=True):
            if np.isfinite(value):
                axes.annotate(f"{steps}", (seconds, value), offset, textcoords="offset points", fontsize=SMALL, color="0.3")
    note(figure, "Numbers: steps of the sampler. Bars: 95 % intervals.")
    return figure


def _line(axes: Axes, rows: pd.DataFrame, columns: list[str], label: str, colour: str, x: str = "steps") -> None:
    """A column with its interval, [value, low, high]; the line of all types is the heavier one."""
    value, low, high = (rows[column].to_numpy(dtype=float) for column in columns)
    width = 2.0 if label == "all" else 1.2
    axes.vlines(rows[x], low, high, color=colour, linewidth=1.0)
    axes.plot(rows[x], value, marker="o", markersize=3.5, linewidth=width, color=colour, label=label.replace("all", "all types"))


def _references(axes: Axes, reference: Mapping[str, float]) -> None:
    colours = method_colours(reference)
    for method, value in reference.items():
        if np.isfinite(value):
            style = ":" if method == "real" else "--"
            axes.axhline(value, color=colours[method], linestyle=style, linewidth=1.4, zorder=1, label=method_label(method))


def _finish(axes: Axes, title: str, values: pd.DataFrame, reference: Mapping[str, float], *, log: bool) -> None:
    """Title and scale for [value, low, high]; an axis with a sign is linear within the noise of a typical interval."""
    tidy(axes, title)
    numbers = values.to_numpy(dtype=float)
    noise = (numbers[:, 2] - numbers[:, 1]) / 2
    noise = noise[np.isfinite(noise)]
    linear = float(np.median(noise)) if len(noise) else 0.0
    value_axis(axes, "y", [*numbers.ravel(), *reference.values()], log=log, linear=linear)


def _steps_axis(axes: Axes, steps: list[int]) -> None:
    """A logarithmic axis with the steps as ticks; one that would touch the tick on its left has no label."""
    axes.set_xscale("log")
    labels, last = [], 0.0
    for step in steps:
        apart = step > last * (steps[-1] / steps[0]) ** 0.05
        labels.append(tick_label(step) if apart else "")
        last = step if apart else last
    axes.set_xticks(steps, labels)
    axes.xaxis.set_minor_locator(NullLocator())
