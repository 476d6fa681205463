"""All measures of one method, by name: what `plots/compare/metrics.json` holds for it."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from toycrystals.dataset import Samples
from toycrystals.lattice import LATTICES, TYPES
from toycrystals.metrics.distribution import fft_radial_l2, mass_w1
from toycrystals.metrics.matching import LatticeMatcher, match_requested, psnr, unit_images


def summarise(
    images: NDArray[np.uint8], held_out: Samples, matcher: LatticeMatcher, aspect_step: float, conditional: bool
) -> dict[str, float]:
    """Measures of images uint8 [N, 1, H, W], image i made for the condition of held-out sample i.

    matched_psnr, matched_psnr_TYPE (dB, from the mean squared error against the exact image of the request), type_accuracy
    (share whose nearest lattice is of the requested type), nearest_ncc, type_frequency_TYPE, aspect_w1 (rectangular crystals
    against the held-out truth), mass_w1, fft_radial_l2. An unconditional method answers no request: it has no matched_psnr and
    no type_accuracy, and its aspects are those of the images that look rectangular.
    """
    generated, real = unit_images(images), unit_images(held_out.images)
    nearest = matcher(generated)
    measures = {
        "nearest_ncc": float(nearest.ncc.mean()),
        "mass_w1": mass_w1(generated, real),
        "fft_radial_l2": fft_radial_l2(generated, real),
    }
    true_aspect = held_out.factors[:, 4].astype(np.float64)
    with_aspect = np.array([lattice.has_aspect for lattice in LATTICES])
    if conditional:
        spacing, theta = held_out.factors[:, :2].astype(np.float64).T
        matched = match_requested(generated, held_out.type, spacing, theta, aspect_step)
        measures["matched_psnr"] = psnr(float(matched.mse.mean()))
        for k in np.unique(held_out.type):
            measures[f"matched_psnr_{TYPES[k]}"] = psnr(float(matched.mse[held_out.type == k].mean()))
        measures["type_accuracy"] = float(np.mean(nearest.type == held_out.type))
        aspects = matched.aspect[with_aspect[held_out.type]]
    else:
        aspects = nearest.aspect[with_aspect[nearest.type]]
    for k in matcher.types:
        measures[f"type_frequency_{TYPES[k]}"] = float(np.mean(nearest.type == k))
    truth = true_aspect[with_aspect[held_out.type]]
    if len(truth) and len(aspects):
        measures["aspect_w1"] = float(wasserstein_distance(aspects, truth))
    return measures
