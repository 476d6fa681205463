"""The two primary metrics alone, for many settings of one method."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.dataset import Samples
from toycrystals.metrics.features import FeatureExtractor
from toycrystals.metrics.intervals import Estimate, Weights
from toycrystals.metrics.matching import match_requested, unit_images
from toycrystals.metrics.mmd import mmd2
from toycrystals.metrics.truth import ALL, by_type, mean_psnr


def quality(
    images: NDArray[np.uint8],
    held_out: Samples,
    extractor: FeatureExtractor,
    weights: Weights,
    aspect_step: float,
    *,
    answers: bool,
) -> pd.DataFrame:
    """Matched PSNR (dB) by type and MMD^2 on principal components of images uint8 [N, 1, H, W], image i for condition i.

    Columns type, psnr, low, high, mmd2, mmd2_low, mmd2_high; the last three are of all images together. Without `answers` no
    image was made for a condition, and there is no PSNR.
    """
    spacing, theta = held_out.factors[:, :2].astype(np.float64).T
    estimates = {("matched_psnr", ALL): Estimate(float("nan"))}
    if answers:
        matched = match_requested(unit_images(images), held_out.type, spacing, theta, aspect_step)
        estimates = by_type("matched_psnr", matched.mse, held_out.type, weights, mean_psnr)
    distance = mmd2(extractor.pca(held_out.images), extractor.pca(images), extractor.bandwidths("pca"), weights)
    rows = [[kind, *estimate[:3]] for (_, kind), estimate in estimates.items()]
    table = pd.DataFrame(rows, columns=["type", "psnr", "low", "high"])
    table.loc[table["type"] == ALL, ["mmd2", "mmd2_low", "mmd2_high"]] = distance[:3]
    return table
