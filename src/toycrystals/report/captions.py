"""What the figures show and how to read them, by path; a figure that is not described here is shown with its path."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from toycrystals.figures.style import method_label


@dataclass(frozen=True)
class Caption:
    """`title` is the figure's name, `text` how to read it, `alt` what stands for it where it is not seen."""

    title: str
    text: str
    alt: str


_SAMPLES = "Each column is one held-out request, each row a source of codes; the decoder is the same in all rows."
_RECTANGLES = "A rectangular request leaves the aspect open, so those columns may differ from the truth."
# In the order of the page. {name} stands for what the * matched.
CAPTIONS: dict[str, Caption] = {
    "plots/figures/samples.png": Caption(
        "Samples beside the truth", f"{_SAMPLES} {_RECTANGLES}", "Grid of crystal images: truth, then samples of each prior"
    ),
    "plots/figures/reconstructions.png": Caption(
        "Reconstructions",
        "Pairs of rows, one pair a lattice type: real images above, the same images through encoder and decoder below. "
        "What is lost here no prior can bring back.",
        "Real images and their reconstructions by the VAE",
    ),
    "plots/figures/sweep_*.png": Caption(
        "Rotation sweep: {name}",
        "The requested angle turns evenly from left to right. Above the truth, below the samples, which should turn with it.",
        "Truth and samples of {name} as the requested angle turns",
    ),
    "plots/diagnose/posterior.png": Caption(
        "Codes in two dimensions",
        "Grey: codes of held-out images that the prior is to imitate. Colour: codes that it draws, by requested type, along the "
        "first two principal components. Colour should lie on grey.",
        "Scatter plots of each prior's codes over those of held-out images",
    ),
    "plots/diagnose/worst_*.png": Caption(
        "Worst samples: {name}",
        "The samples with the largest error below the exact image of their request. Of a prior that is told no conditions: the "
        "least crystalline samples below the nearest exact crystal.",
        "The worst samples of {name} beside the exact images",
    ),
    "plots/compare/metrics.png": Caption(
        "All methods on the charted metrics",
        "A panel a metric, a row a method, with 95 % intervals. Line and band: what fresh real images score, from their mean to "
        "their worst 5 %. Hollow dots are at the floor.",
        "Panels of metrics with intervals and floors for every method",
    ),
    "plots/compare/angles.png": Caption(
        "Angle errors",
        "Share of images that miss the requested angle by more than the value on the axis, by type. A line that ends above 0 on "
        "the right has images that show no lattice at all.",
        "Curves of angle errors by lattice type and method",
    ),
    "plots/compare/confusion.png": Caption(
        "Types asked for and found, strictly",
        "Rows are requested types, columns what the image shows, in per cent of the row.",
        "Confusion matrices of lattice types, one a method",
    ),
    "plots/compare/confusion_merged.png": Caption(
        "Types asked for and found, near-squares merged",
        "As above, but a rectangular crystal with nearly equal sides counts as a square one and the other way round.",
        "Confusion matrices of lattice types with near-squares merged",
    ),
    "plots/compare/controls.png": Caption(
        "What each metric sees",
        "Images with a known fault, measured like any method. Numbers are standard deviations of fresh real draws by which the "
        "fault is caught; white cells are not seen by that metric.",
        "Table of controls against metrics with the strength of detection",
    ),
    "plots/steps/steps.png": Caption(
        "Quality against evaluations",
        "Both primary metrics against the number of network evaluations that sampling takes, with 95 % intervals.",
        "Matched PSNR and MMD squared against the number of evaluations",
    ),
    "plots/seconds/seconds.png": Caption(
        "Quality against seconds",
        "The same against measured time. It was drawn apart from the pipeline (python -m tests.benchmarks.seconds), so it may "
        "belong to an earlier run and to another machine.",
        "Matched PSNR and MMD squared against seconds",
    ),
    "plots/figures/curves.png": Caption(
        "Training curves", "Losses of the VAE and of the diffusion prior by epoch.", "Training losses against epochs"
    ),
    "plots/preview/*.png": Caption(
        "The data: variant {name}",
        "Samples of every lattice type with the factors that vary in this variant. data.variant of the params says which variant "
        "the results are of.",
        "Samples of the dataset variant {name}",
    ),
}


@dataclass(frozen=True)
class Figure:
    """A figure's file, relative to the project's root, and its caption."""

    path: Path
    caption: Caption


def captioned(paths: Iterable[Path]) -> list[Figure]:
    """Figures in the order of the page; unknown ones at the end, by path."""
    patterns = list(CAPTIONS)
    known, unknown = [], []
    for path in paths:
        places = [i for i, pattern in enumerate(patterns) if fnmatch(path.as_posix(), pattern)]
        if places:
            known.append((places[0], Figure(path, _filled(path, patterns[places[0]]))))
        else:
            name = path.as_posix()
            unknown.append(Figure(path, Caption(name, "", f"Figure {name}")))
    return [figure for _, figure in sorted(known, key=lambda item: item[0])] + unknown


def _filled(path: Path, pattern: str) -> Caption:
    before, _, after = pattern.partition("*")
    name = path.as_posix().removeprefix(before).removesuffix(after) if after else ""
    label = method_label(name)
    caption = CAPTIONS[pattern]
    return Caption(*(text.replace("{name}", label) for text in (caption.title, caption.text, caption.alt)))
