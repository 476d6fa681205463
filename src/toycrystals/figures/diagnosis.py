"""Where a method goes wrong: types that turn into others, angles that are missed, codes that leave the posterior."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from toycrystals.figures.style import (
    DPI,
    SMALL,
    TEXT,
    WIDTH,
    Floats,
    legend,
    method_colours,
    method_label,
    method_line,
    note,
    tick_label,
    tidy,
    type_colours,
)

_COLUMNS = 4
_DEGREES = (1e-3, 90.0)
_POINTS = 2000


def _grid(n: int, height: float, **options: Any) -> tuple[Figure, NDArray[Any]]:
    """A figure of n panels, at most four in a row, each `height` inches high, and its n axes in reading order."""
    columns = max(1, min(_COLUMNS, n))
    rows = max(1, -(-n // columns))
    size = (WIDTH, rows * height) if columns > 1 else (WIDTH / 2, height + 0.5)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in panels.ravel()[n:]:
        axes.remove()
    for axes in panels.ravel()[max(0, n - columns) : n]:
        axes.tick_params(labelbottom=True)  # also above a place that stayed empty
    return figure, panels.ravel()[:n]


def draw_confusion(matrices: Mapping[str, NDArray[np.int64]], types: Sequence[str]) -> Figure:
    """Requested against found type: one matrix [T, T + 1] of counts a method, the last column `no lattice`, in per cent."""
    figure, panels = _grid(len(matrices), 2.4)
    for i, (axes, (method, counts)) in enumerate(zip(panels, matrices.items(), strict=True)):
        totals = counts.sum(axis=1, keepdims=True)
        share = np.divide(100.0 * counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        # The square root shows a few per cent of confusion beside a full diagonal.
        axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=10, aspect="auto", interpolation="nearest")
        for (r, c), value in np.ndenumerate(share):
            if counts[r, c]:
                colour = "white" if value > 35 else "0.1"
                axes.text(c, r, percent_text(value), ha="center", va="center", fontsize=SMALL, color=colour)
        axes.set_title(method_label(method), loc="left", fontsize=TEXT)
        axes.set_xticks(range(len(types) + 1), [*types, "no lattice"], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(types)), types if i % _COLUMNS == 0 else [""] * len(types))
        axes.tick_params(labelsize=SMALL, length=0, pad=2)
        axes.axvline(len(types) - 0.5, color="0.6", linewidth=0.8)
        axes.spines[:].set_color("0.8")
    note(figure, "Rows: the requested type; columns: the type found; per cent of the row.")
    return figure


def percent_text(value: float) -> str:
    """A share as short as it can be read, where 0 and 100 mean none and all."""
    if value < 0.1:
        return "<0.1"
    if 99.9 < value < 100:
        return ">99.9"
    return f"{value:.1f}".removesuffix(".0")


def draw_theta_errors(errors: Mapping[str, Floats], types: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """The share of images that miss the requested angle by more than x degrees; a panel a type, a line a method.

    Errors [N] in degrees, NaN where an image shows no lattice: no error is too large for those, so their share is where a
    line ends on the right.
    """
    figure, panels = _grid(len(names), 2.7, sharex=True, sharey=True)
    colours = method_colours(errors)
    for k, (axes, name) in enumerate(zip(panels, names, strict=True)):
        rows = types == k
        for method, degrees in errors.items():
            _survival(axes, degrees[rows], colours[method], method_line(method))
        if not rows.any():
            axes.annotate("no image", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=SMALL, color="0.4")
        tidy(axes, name)
        axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    most = max(1, *(int(np.sum(types == k)) for k in range(len(names))))
    ticks = [0.001, 0.01, 0.1, 1.0, 10.0]
    panels[0].set(xscale="log", yscale="log", xlim=_DEGREES, ylim=(min(0.08, 0.6 / most), 1.2))
    panels[0].set_xticks(ticks, [tick_label(tick) for tick in ticks])
    shares = [10.0**e for e in range(-max(1, math.floor(math.log10(most))), 1)]
    panels[0].set_yticks(shares, [f"{tick_label(100 * share)} %" for share in shares])
    panels[0].xaxis.set_minor_formatter(NullFormatter())
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("images with a larger error", fontsize=TEXT)
    handles = [
        Line2D([], [], color=colours[method], linestyle=method_line(method), label=method_label(method)) for method in errors
    ]
    legend(figure, handles)
    note(figure, "Error of the angle in degrees. Dot: median. A line that ends above the bottom: images without a lattice.")
    return figure


def _survival(axes: Axes, degrees: Floats, colour: str, line: str) -> None:
    """The share of `degrees` [n] above x, as a step at each of them; NaN is above all x."""
    n = len(degrees)
    if n == 0:
        return
    known = np.sort(degrees[np.isfinite(degrees)])
    x = np.concatenate([[_DEGREES[0]], known.clip(*_DEGREES), [_DEGREES[1]]])
    share = np.concatenate([1.0 - np.arange(len(known) + 1) / n, [1.0 - len(known) / n]])
    axes.plot(x, share, drawstyle="steps-post", color=colour, linestyle=line, linewidth=1.3)
    median = np.sort(np.where(np.isfinite(degrees), degrees, np.inf))[(n - 1) // 2]
    if np.isfinite(median):
        axes.plot(np.clip(median, *_DEGREES), 0.5, "o", markersize=4, color=colour, clip_on=False, zorder=3)


def draw_posterior(codes: Mapping[str, tuple[Floats, Floats]], types: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Priors beside the aggregated posterior, a panel each: the codes [N, D] to imitate in grey, the samples [N, D] by type.

    The axes, shared by all panels, are the first two principal components of the codes to imitate.
    """
    imitated = np.concatenate([target for target, _ in codes.values()])
    mean, components = principal_components(imitated)
    figure, panels = _grid(len(codes), 2.6, sharex=True, sharey=True)
    colours = type_colours(names)
    low, high = (end((imitated - mean) @ components, axis=0) for end in (np.min, np.max))
    middle, reach = (low + high) / 2, 0.6 * max(float((high - low).max()), 1e-9)
    for axes, (prior, (target, samples)) in zip(panels, codes.items(), strict=True):
        x, y = ((target[_thinned(len(target), len(names))] - mean) @ components).T
        axes.scatter(x, y, s=8, color="0.8", linewidths=0, rasterized=True)
        kept = _thinned(len(samples), len(names))
        points, kinds = (samples[kept] - mean) @ components, types[kept]
        axes.scatter(*points.T, s=2.5, c=[colours[names[k]] for k in kinds], linewidths=0, rasterized=True)
        outside = int(np.sum(~(np.abs(points - middle) <= reach).all(axis=1)))
        if outside:
            text = f"{outside} of {len(points)} outside"
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
            axes.text(0.98, 0.02, text, transform=axes.transAxes, ha="right", fontsize=SMALL, color="0.3", bbox=box)
        tidy(axes, method_label(prior))
        axes.set_aspect("equal")
    panels[0].set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
    handles = [Line2D([], [], marker="o", linestyle="none", color=colours[name], markersize=4, label=name) for name in names]
    handles.append(Line2D([], [], marker="o", linestyle="none", color="0.75", markersize=5, label="held-out posterior"))
    legend(figure, handles)
    note(
        figure, "Samples of each prior over the held-out codes that it is to imitate, along their first two principal components."
    )
    return figure


def principal_components(codes: Floats) -> tuple[Floats, Floats]:
    """The mean [D] of codes [N, D] and their first two principal directions [D, 2], the largest entry of each positive.

    One dimension has no second direction: zeros stand for it.
    """
    mean = codes.mean(axis=0)
    _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(codes - mean, rowvar=False, bias=True)))
    directions = np.pad(vectors[:, ::-1][:, :2], ((0, 0), (0, max(0, 2 - len(mean)))))
    largest = directions[np.abs(directions).argmax(axis=0), [0, 1]]
    return mean, directions * np.sign(largest)


def _thinned(n: int, n_types: int) -> NDArray[np.intp]:
    """At most 2,000 of n rows, a fixed stride apart; where types take turns, the stride skips none of them."""
    stride = max(1, -(-n // _POINTS))
    while math.gcd(stride, n_types) > 1:
        stride += 1
    return np.arange(0, n, stride)
