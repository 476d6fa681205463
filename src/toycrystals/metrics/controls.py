"""Images with a known fault: each shows which measures can see that fault, and which cannot."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from toycrystals.crystals.conditions import nearest_conditions
from toycrystals.crystals.dataset import DatasetSpec, Samples, redraw
from toycrystals.crystals.variants import LABELS as LABEL_NAMES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.copying import conditions_of

Images = NDArray[np.uint8]  # [N, 1, H, W]
COLLAPSED = 64
_THETA = LABEL_NAMES.index("theta")
# The part of the angles' range that one control lacks.
_MISSING = (1 / 3, 1 / 2)


def make_controls(spec: DatasetSpec, held_out: Samples, training: Samples) -> dict[str, Images]:
    """Name -> images for the held-out conditions; but for its fault each is a fresh draw of real images.

    A fault that the data cannot have, such as missing angles where there is one, is left out.
    """
    images = redraw(spec, held_out.type, held_out.factors).images
    controls = {
        "shuffled": images[np.random.default_rng(0).permutation(len(images))],
        # A quarter turn, which no square shows.
        "rotated": turned(spec, held_out, np.pi / 2),
        "blurred": blurred(images),
        "shifted": np.concatenate([images[:, :, :, :1], images[:, :, :, :-1]], axis=3),
        "collapsed": collapsed(images, held_out.type),
        "copies": copies(spec, held_out, training),
        "type_missing": type_missing(spec, held_out),
        "angles_missing": angles_missing(spec, held_out),
    }
    if spec.n_types == 1:
        del controls["type_missing"]
    if not VARIANTS[spec.variant].visible[_THETA]:
        del controls["rotated"], controls["angles_missing"]
    return controls


def turned(spec: DatasetSpec, held_out: Samples, angle: NDArray[np.floating] | float) -> Images:
    """Every request is answered `angle` too far about the central site."""
    factors = held_out.factors.copy()
    factors[:, 1] += np.float32(angle)
    return redraw(spec, held_out.type, factors).images


def blurred(images: Images) -> Images:
    """Blurred with a Gaussian of 1 px, and brought back to the full range as real images are."""
    smooth = gaussian_filter(images[:, 0].astype(np.float32), sigma=(0.0, 1.0, 1.0))
    scale = 255.0 / np.maximum(smooth.max(axis=(1, 2), keepdims=True), 1.0)
    return np.asarray(smooth * scale + 0.5, dtype=np.uint8)[:, None]


def collapsed(images: Images, types: NDArray[np.int64]) -> Images:
    """`COLLAPSED` different images in all, over and over: of the right type, at few angles."""
    result = images.copy()
    kinds = np.unique(types)
    for rows in (np.flatnonzero(types == k) for k in kinds):
        few = rows[: max(1, COLLAPSED // len(kinds))]
        result[rows] = images[np.resize(few, len(rows))]
    return result


def copies(spec: DatasetSpec, held_out: Samples, training: Samples) -> Images:
    """For each condition the training image whose condition is nearest; where all are, those of the type in their order."""
    asked = conditions_of(held_out)
    source = torch.empty(len(asked), dtype=torch.long)
    for rows, found in nearest_conditions(asked, conditions_of(training), spec.variant, k=1):
        turn = (asked.type == asked.type[rows[0]]).cumsum(0)[rows] - 1
        source[rows] = found[:, 0] if found.ndim == 2 else found[turn % len(found)]
    return np.asarray(training.images[source.numpy()])


def type_missing(spec: DatasetSpec, held_out: Samples) -> Images:
    """The last type is never drawn: its requests are answered with the first type, at the same angle."""
    last = spec.n_types - 1
    return redraw(spec, np.where(held_out.type == last, 0, held_out.type), held_out.factors).images


def angles_missing(spec: DatasetSpec, held_out: Samples) -> Images:
    """Angles in a sixth of the range are never drawn: their requests are answered at the angle that far below."""
    theta = held_out.factors[:, 1]
    low, high = (share * VARIANTS[spec.variant].theta[1] for share in _MISSING)
    return turned(spec, held_out, np.where((theta >= low) & (theta < high), low - high, 0.0))
