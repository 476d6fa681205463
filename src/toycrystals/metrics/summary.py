"""All measures of a set of images, and all measures of a set of codes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from toycrystals.conditioning import Conditions
from toycrystals.dataset import DatasetSpec, Samples
from toycrystals.metrics.classifiers import boosted_auc, cnn_auc, linear_auc
from toycrystals.metrics.copying import close, nearest_distance, same_condition
from toycrystals.metrics.distribution import fft_radial_l2, frechet, mass_w1, random_directions, sliced_wasserstein
from toycrystals.metrics.features import VIEWS, FeatureExtractor
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.metrics.manifold import manifold
from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.mmd import mmd2
from toycrystals.metrics.recovery import LatticeRecovery, Recovered
from toycrystals.metrics.truth import (
    ALL,
    Measures,
    confusion,
    copy_measures,
    image_table,
    population_measures,
    request_measures,
)

_DIRECTIONS = 64


@dataclass(frozen=True)
class ImageSettings:
    """See `toycrystals.config.Evaluate`."""

    theta_step: float
    aspect_step: float
    neighbours: int
    candidates: int


@dataclass(frozen=True)
class ImageReport:
    """All measures of N images; a table with a row an image; their features a view; counts of types asked for and found."""

    measures: Measures
    table: pd.DataFrame
    features: dict[str, NDArray[np.float32]]
    confusion: NDArray[np.int64]  # [2, T, T + 1]
    found: Recovered


class ImageJudge:
    """Measures images made for the held-out conditions; holds what all methods are compared with."""

    def __init__(
        self, spec: DatasetSpec, held_out: Samples, training: Samples, extractor: FeatureExtractor, settings: ImageSettings
    ) -> None:
        self.spec, self.held_out, self.extractor, self.settings = spec, held_out, extractor, settings
        self.recovery = LatticeRecovery(spec.variant, spec.n_types, spec.image_size, settings.theta_step, settings.aspect_step)
        self.real, self.features = unit_images(held_out.images), extractor(held_out.images)
        self.training = torch.from_numpy(extractor.pca(training.images))
        asked, known = (Conditions(torch.from_numpy(s.type), torch.from_numpy(s.labels)) for s in (held_out, training))
        self.near = same_condition(asked, known, spec.variant, settings.candidates)

    def _distance(self, features: NDArray[np.float32], near: torch.Tensor | None) -> Floats:
        """Of each image's principal components [N, P] to those of the nearest training image in `near` [N, K], or of all: [N]."""
        return nearest_distance(torch.from_numpy(features), self.training, near)

    def __call__(self, images: NDArray[np.uint8], weights: Weights, *, answers: bool) -> ImageReport:
        """Measure images uint8 [N, 1, H, W], image i made for held-out condition i; `weights` [B, N] may have no row.

        `answers`: whether the method was told the conditions. If not, nothing is compared with them.
        """
        unit, types = unit_images(images), self.held_out.type
        found = self.recovery(unit, types if answers else None)
        table = image_table(unit, self.held_out, found, self.spec.variant, self.settings.aspect_step, answers)
        features = self.extractor(images)
        measures = request_measures(table, types, weights) if answers else {}
        measures |= population_measures(found, self.held_out, self.spec.variant, weights, answers=answers)
        measures |= self._distribution(images, unit, features, weights)
        # Images that were made for no condition may copy training images of any.
        near, kinds = (self.near, types) if answers else (None, np.zeros_like(types))
        table["copy_distance"] = self._distance(features["pca"], near)
        copies = close(table["copy_distance"].to_numpy(), self._distance(self.features["pca"], near), kinds)
        measures |= copy_measures("copy_image", *copies, kinds, weights)
        return ImageReport(measures, table, features, confusion(types, found, self.spec.n_types), found)

    def _distribution(
        self, images: NDArray[np.uint8], unit: NDArray[np.float32], features: dict[str, NDArray[np.float32]], weights: Weights
    ) -> Measures:
        """The images as a set against the held-out images as a set."""
        values: dict[str, Estimate] = {}
        for view in VIEWS:
            real, generated = self.features[view], features[view]
            directions = random_directions(real.shape[1], _DIRECTIONS, seed=0)
            values[f"mmd2_{view}"] = mmd2(real, generated, self.extractor.bandwidths(view), weights)
            values[f"frechet_{view}"] = frechet(real, generated, weights)
            values[f"sliced_w2_{view}"] = sliced_wasserstein(real, generated, directions, weights)
            scores = manifold(real, generated, self.settings.neighbours, weights)
            values |= {f"{name}_{view}": estimate for name, estimate in scores.items()}
        real, generated = (np.concatenate([f[view] for view in VIEWS], axis=1) for f in (self.features, features))
        values["auc_linear"] = linear_auc(real, generated, weights)
        values["auc_boosted"] = boosted_auc(real, generated, weights)
        values["auc_cnn"] = cnn_auc(self.held_out.images, images, weights)
        values["mass_w1"] = mass_w1(unit, self.real, weights)
        values["fft_radial_l2"] = Estimate(fft_radial_l2(unit, self.real))
        return {(name, ALL): estimate for name, estimate in values.items()}
