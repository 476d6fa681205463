"""What all figures share: names and colours of methods and types, and how a figure is written."""

import colorsys
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from toycrystals.results.vega import Spec, to_png

LABELS = {
    "real": "real",
    "reconstruction": "VAE reconstruction",
    "standard": "N(0, I)",
    "mop": "mixture of posteriors",
    "local": "locally linear",
    "diffusion": "latent diffusion",
}
REFERENCES = ("real", "reconstruction")
# Far from each other, and so is the first of the spare ones, also for readers who confuse red with green, or blue with yellow.
_COLOURS = {
    "real": "#8c8c8c",
    "reconstruction": "#4d4d4d",
    "standard": "#d1495b",
    "mop": "#edae49",
    "local": "#5a00ff",
    "diffusion": "#00798c",
}
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
    """{label: colour} of methods; those that the house does not know get further colours in their order."""
    names = dict.fromkeys(methods)
    further = _further(_SPARE, [name for name in names if name not in _COLOURS])
    return {method_label(name): {**further, **_COLOURS}[name] for name in names}


def type_colours(types: Iterable[str]) -> dict[str, str]:
    """{name: colour} of lattice types."""
    return _further(_TYPE_COLOURS, dict.fromkeys(types))


def _further(colours: tuple[str, ...], names: Iterable[str]) -> dict[str, str]:
    """A colour a name; beyond the list, hues by the golden section, which never repeat."""
    found = {}
    for i, name in enumerate(names):
        rgb = colorsys.hls_to_rgb((0.11 + 0.618034 * i) % 1.0, 0.35 + 0.25 * (i % 2), 0.65)
        found[name] = colours[i] if i < len(colours) else "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
    return found


def colour_scale(colours: dict[str, str]) -> Spec:
    """The scale of a chart that draws each name in its colour."""
    return {"domain": list(colours), "range": list(colours.values())}


def save_figure(figure: Figure | Spec, path: Path | str) -> None:
    """Write a figure in the format of its suffix, a chart as PNG; the bytes hold no date and no version."""
    if isinstance(figure, dict):
        Path(path).write_bytes(to_png(figure))
    else:
        figure.savefig(path, metadata={"Software": None} if str(path).endswith(".png") else {})
