"""Images with a known fault: each shows which measures can see that fault, and which cannot."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from toycrystals.conditioning import Conditions
from toycrystals.dataset import LABELS as LABEL_NAMES
from toycrystals.dataset import VARIANTS, DatasetSpec, Samples, redraw
from toycrystals.metrics.copying import same_condition

Images = NDArray[np.uint8]  # [N, 1, H, W]
COLLAPSED = 64
_THETA = LABEL_NAMES.index("theta")
# The part of the angles' range that one control lacks.
_MISSING = (1 / 3, 1 / 2)
LABELS = {
    "shuffled": "conditions shuffled",
    "rotated": "rotated by 90°",
    "blurred": "blurred by 1 px",
    "shifted": "shifted by 1 px",
    "collapsed": f"collapsed to {COLLAPSED} images",
    "copies": "copies of training images",
    "type_missing": "one type missing",
    "angles_missing": "a range of angles missing",
}


def make_controls(spec: DatasetSpec, held_out: Samples, training: Samples) -> dict[str, Images]:
    """Name -> images for the held-out conditions; but for its fault each is a fresh draw of real images.

    A fault that the data cannot have, such as missing angles where there is one, is left out.
    """
    images = redraw(spec, held_out.type, held_out.factors).images
    controls = {
        "shuffled": images[np.random.default_rng(0).permutation(len(images))],
        "rotated": rotated(spec, held_out),
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


def rotated(spec: DatasetSpec, held_out: Samples) -> Images:
    """Every request is answered a quarter turn too far about the central site, which no square shows."""
    turned = replace(held_out, factors=held_out.factors.copy())
    turned.factors[:, 1] += np.pi / 2
    return redraw(spec, turned.type, turned.factors).images


def blurred(images: Images) -> Images:
    """Blurred with a Gaussian of 1 px, and brought back to the full range as real images are."""
    smooth = gaussian_filter(images[:, 0].astype(np.float32), sigma=(0.0, 1.0, 1.0))
    scale = 255.0 / np.maximum(smooth.max(axis=(1, 2), keepdims=True), 1.0)
    return np.asarray(smooth * scale + 0.5, dtype=np.uint8)[:, None]


def collapsed(images: Images, types: NDArray[np.int64]) -> Images:
    """`COLLAPSED` different images in all, over and over: of the right type, at few angles."""
    result = images.copy()
    kinds = np.unique(types)
    for k in kinds:
        rows = np.flatnonzero(types == k)
        few = rows[: max(1, COLLAPSED // len(kinds))]
        result[rows] = images[few[np.arange(len(rows)) % len(few)]]
    return result


def copies(spec: DatasetSpec, held_out: Samples, training: Samples) -> Images:
    """For each condition the training image whose condition is nearest."""
    asked, known = (Conditions(torch.from_numpy(s.type), torch.from_numpy(s.labels)) for s in (held_out, training))
    near = same_condition(asked, known, spec.variant, candidates=1)
    if near is None:  # nothing is nearer than anything else: the training images of the type in their order
        rows = np.empty(len(held_out), dtype=np.int64)
        for k in np.unique(held_out.type):
            here = np.flatnonzero(held_out.type == k)
            pool = np.flatnonzero(training.type == k)
            rows[here] = pool[np.arange(len(here)) % len(pool)]
        return training.images[rows]
    return np.asarray(training.images[near[:, 0].numpy()])


def type_missing(spec: DatasetSpec, held_out: Samples) -> Images:
    """The last type is never drawn: its requests are answered with the first type, at the same angle."""
    last = spec.n_types - 1
    return redraw(spec, np.where(held_out.type == last, 0, held_out.type), held_out.factors).images


def angles_missing(spec: DatasetSpec, held_out: Samples) -> Images:
    """Angles in a sixth of the range are never drawn: their requests are answered at the angle that far below."""
    theta = held_out.factors[:, 1]
    low, high = (share * VARIANTS[spec.variant].theta[1] for share in _MISSING)
    turned = replace(held_out, factors=held_out.factors.copy())
    turned.factors[:, 1] = np.where((theta >= low) & (theta < high), theta - (high - low), theta)
    return redraw(spec, turned.type, turned.factors).images
