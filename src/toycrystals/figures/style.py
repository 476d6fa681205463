"""What all figures share: names and colours of methods and types, sizes, logarithmic axes, and how a figure is written."""

import colorsys
import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
DPI = 150
WIDTH = 9.0  # inches: at a README's 900 px, SMALL is still 10 px high
TITLE, TEXT, SMALL = 9.0, 8.0, 7.0  # points

LABELS = {
    "real": "real",
    "reconstruction": "VAE reconstruction",
    "standard": "N(0, I)",
    "mop": "mixture of posteriors",
    "diffusion": "latent diffusion",
}
REFERENCES = ("real", "reconstruction")
_COLOURS = {"real": "0.55", "reconstruction": "0.3", "standard": "#d1495b", "mop": "#edae49", "diffusion": "#00798c"}
# Far from each other, and the first from the colours above, also for readers who confuse red with green, or blue with yellow.
_SPARE = ("#b83fd9", "#66c8ff", "#4a0a5e", "#7a1f00", "#d9c38c", "#310099")
_TYPE_COLOURS = ("#0055a4", "#e69f00", "#52b6e8", "#b0273e")


def method_label(method: str) -> str:
    """A method's name as figures and tables show it."""
    return LABELS.get(method, method)


def ordered_methods(methods: Iterable[str]) -> list[str]:
    """Each method once: the references first, then the others as they come."""
    found = list(dict.fromkeys(methods))
    return [name for name in REFERENCES if name in found] + [name for name in found if name not in REFERENCES]


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour a method; methods that the house does not know get further ones in their order."""
    names = list(dict.fromkeys(methods))
    strangers = [name for name in names if name not in _COLOURS]
    return {name: _COLOURS[name] if name in _COLOURS else _further(_SPARE, strangers.index(name)) for name in names}


def type_colours(types: Iterable[str]) -> dict[str, str]:
    """A colour a lattice type, and black for `all` of them."""
    names = [name for name in dict.fromkeys(types) if name != "all"]
    return {name: _further(_TYPE_COLOURS, i) for i, name in enumerate(names)} | {"all": "0.1"}


def _further(colours: tuple[str, ...], i: int) -> str:
    """Colour i; beyond the list, hues by the golden section, which never repeat."""
    if i < len(colours):
        return colours[i]
    return to_hex(colorsys.hls_to_rgb((0.11 + 0.618034 * i) % 1.0, 0.35 + 0.25 * (i % 2), 0.65))


def method_marker(method: str) -> str:
    """A square for what bounds all priors, a disc for a prior."""
    return "s" if method in REFERENCES else "o"


def method_line(method: str) -> Literal[":", "--", "-"]:
    """A broken line for what bounds all priors, a full one for a prior."""
    if method not in REFERENCES:
        return "-"
    return ":" if method == "real" else "--"


def tidy(axes: Axes, title: str = "", grid: Literal["x", "y", "both"] = "both") -> None:
    """The house's look: title on the left, small ticks, a pale grid, no frame above and on the right."""
    axes.set_title(title, loc="left", fontsize=TITLE)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis=grid, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def note(figure: Figure, text: str) -> None:
    """Small print under a figure with constrained layout, broken where the figure ends."""
    figure.supxlabel(textwrap.fill(text, int(figure.get_figwidth() * 18.5)), fontsize=SMALL, color="0.3")


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above all panels: in one row if that fits the figure's width, else in even columns."""
    widths = [0.55 + 0.062 * len(str(handle.get_label())) for handle in handles]
    fits = sum(widths) <= figure.get_figwidth()
    columns = max(1, len(handles) if fits else int(figure.get_figwidth() / max(widths)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=TEXT, frameon=False)


def value_axis(axes: Axes, which: Literal["x", "y"], values: ArrayLike, *, log: bool, linear: float = math.nan) -> None:
    """Scale the axis for `values`, and label a few round numbers on it; call it when all is drawn.

    A logarithmic axis with values <= 0 (an unbiased MMD^2 may have some) is linear within +-`linear`, logarithmic beyond.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    axis = getattr(axes, f"{which}axis")
    if len(known) == 0:
        axis.set_ticks([])
        return
    signed = log and known.min() <= 0
    if signed:
        nonzero = np.abs(known[known != 0])
        linear = linear if linear > 0 else float(nonzero.min(initial=1.0))
        getattr(axes, f"set_{which}scale")("symlog", linthresh=linear)
    elif log:
        getattr(axes, f"set_{which}scale")("log")
    axes.margins(x=0.08 if which == "x" else None, y=0.08 if which == "y" else None)
    axes.use_sticky_edges = False
    axes.autoscale_view()
    low, high = getattr(axes, f"get_{which}lim")()
    most = 5 if which == "x" else 6
    if signed:
        ticks = _signed_ticks(low, high, linear)
    elif log:
        ticks = _log_ticks(low, high, most)
    else:
        ticks = _even_ticks(low, high, most)
    axis.set_ticks(ticks, [tick_label(tick) for tick in ticks])
    axis.set_minor_locator(NullLocator())


def tick_label(value: float) -> str:
    """A round number as short as it can be read: 0.002, 50, 10^-5, 2e-5."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    factor = f"{float(mantissa):g}"
    if factor.lstrip("-") == "1":
        return f"${factor.removesuffix('1')}10^{{{int(exponent)}}}$"
    return f"{factor}e{int(exponent)}"


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    ticks = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten and as many of their multiples as there is room for; even steps where the range holds hardly any."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{m}e{e}") for e in exponents for m in multiples if low <= float(f"{m}e{e}") <= high]
        if len(ticks) < 2:
            return _even_ticks(low, high, most)
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def _signed_ticks(low: float, high: float, linear: float) -> list[float]:
    """Zero, and powers of ten on both sides of the linear range."""

    def powers(end: float) -> list[float]:
        if end < linear:
            return []
        exponents = range(math.ceil(math.log10(linear) - 1e-9), math.floor(math.log10(end)) + 1)
        return [10.0**e for e in exponents]

    above, below = powers(high), powers(-low)
    if not above and not below:
        return _even_ticks(low, high, 4)
    return [-tick for tick in reversed(below[-1:])] + [0.0] + above[:: max(1, math.ceil(len(above) / 2))]


def save_figure(figure: Figure, path: Path | str, description: str = "") -> None:
    """Write a figure in the format of its suffix; a PNG's bytes hold no date and no version, but `description`."""
    metadata: dict[str, Any] = {"Software": None} if str(path).endswith(".png") else {}
    if description:
        metadata["Description"] = description
    figure.savefig(path, metadata=metadata)
