"""All measures of a set of images."""

from dataclasses import fields
from functools import cache, cached_property
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.crystals.dataset import DatasetSpec, Samples
from toycrystals.metrics import classifiers, distribution, manifold, mmd, truth  # noqa: F401 (measures register themselves)
from toycrystals.metrics.base import ALL, ON_IMAGES, JudgedImages, Measures, by_type, measured
from toycrystals.metrics.copying import close, conditions_of, nearest_distance, same_condition
from toycrystals.metrics.features import Features
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.metrics.matching import Matched, match_requested, unit_images
from toycrystals.metrics.recovery import LatticeRecovery, Recovered
from toycrystals.metrics.truth import image_table, mean_psnr, theta_error
from toycrystals.runtime.config import Metrics

Images = NDArray[np.uint8]
# So near to the perfect crystal of its request is an image, if the least error lies at the aspect found.
_CLEAR_NCC, _CLEAR_DEGREES = 0.98, 0.5


class ImageJudge:
    """Measures images made for the held-out conditions; holds what all methods are compared with.

    `tensors` are the fields of the `Features`, those of training images, `training` [M, P], and `near` [N, K], the rows of them
    that are nearest in condition, if any are (see `same_condition`).
    """

    def __init__(self, spec: DatasetSpec, held_out: Samples, tensors: dict[str, Tensor], metrics: Metrics) -> None:
        self.spec, self.held_out, self.tensors, self.metrics = spec, held_out, tensors, metrics
        self.features = Features(*(tensors[field.name].numpy() for field in fields(Features)))
        self.real_features = self.features(held_out.images)
        self.recovery = LatticeRecovery(spec.variant, spec.n_types, spec.image_size, metrics.theta_step, metrics.aspect_step)

    @classmethod
    def fit(cls, spec: DatasetSpec, held_out: Samples, training: Samples, metrics: Metrics) -> Self:
        """Measure the features of real images on the training split."""
        features = Features.fit(training.images, metrics.components)
        arrays = {**vars(features), "training": features(training.images)}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        near = same_condition(conditions_of(held_out), conditions_of(training), spec.variant, metrics.candidates)
        return cls(spec, held_out, tensors if near is None else {**tensors, "near": near}, metrics)

    def __call__(self, images: Images, weights: Weights, *, answers: bool) -> tuple[Measures, pd.DataFrame]:
        """Measure images uint8 [N, 1, H, W], image i made for held-out condition i; `weights` [B, N] may have no row.

        `answers`: was the method told the conditions? If not, nothing is compared with them. The table has a row an image.
        """
        judged = self.judge(images, weights, answers=answers)
        return measured(ON_IMAGES, judged), image_table(judged)

    def primary(self, images: Images, weights: Weights, *, answers: bool) -> Measures:
        """The primary metrics alone, with matched PSNR by type as well."""
        distance = mmd.mmd2(self.real_features, self.features(images), self.features.bandwidths)
        measures: Measures = {("mmd2_pca", ALL): Estimate(distance)}
        if not answers:
            return measures
        mse = self._match(unit_images(images)).mse
        return by_type("matched_psnr", mse, self.held_out.type, weights, mean_psnr) | measures

    def judge(self, images: Images, weights: Weights, *, answers: bool) -> JudgedImages:
        """What the measures need of images."""
        held_out, unit, features = self.held_out, unit_images(images), self.features(images)
        # Images that were made for no condition may copy training images of any.
        distance = self._distance(features, answers=answers)
        found = self._recover(images, unit) if answers else self.recovery(unit)
        # The lattice found tells the aspect of an image that answers its request.
        off = theta_error(held_out.type, held_out.factors[:, 1].astype(np.float64), found)
        clear = (found.type == held_out.type) & (found.ncc > _CLEAR_NCC) & (off < _CLEAR_DEGREES)
        known = np.where(clear, found.asked_aspect, np.nan)
        return JudgedImages(
            self.spec, held_out, unit, found, self._match(unit, known) if answers else None,
            features, self.real_features, self.features.bandwidths, distance,
            close(distance, self._real_distance(answers), held_out.type if answers else None, self.spec.variant),
            weights, self.metrics.neighbours,
        )  # fmt: skip

    def _match(self, unit: NDArray[np.float32], known: Floats | None = None) -> Matched:
        spacing, theta = self.held_out.factors[:, :2].astype(np.float64).T
        return match_requested(unit, self.held_out.type, spacing, theta, self.metrics.aspect_step, known)

    def _recover(self, images: Images, unit: NDArray[np.float32]) -> Recovered:
        """The lattices of images made for the held-out conditions; those that equal the held-out images are searched once."""
        types = self.held_out.type
        new = np.flatnonzero((images != self.held_out.images).any(axis=(1, 2, 3)))
        if 2 * len(new) > len(unit):
            return self.recovery(unit, types)
        found = {name: values.copy() for name, values in vars(self._real_found).items()}
        for name, values in vars(self.recovery(unit[new], types[new])).items():
            found[name][new] = values
        return Recovered(**found)

    @cached_property
    def _real_found(self) -> Recovered:
        return self.recovery(unit_images(self.held_out.images), self.held_out.type)

    @cache  # noqa: B019 (one judge a process)
    def _real_distance(self, answers: bool) -> Floats:
        return self._distance(self.real_features, answers=answers)

    def _distance(self, features: NDArray[np.float32], *, answers: bool) -> Floats:
        """Of each image's features [N, P] to those of the nearest training image, of its condition or of any: [N]."""
        near = self.tensors.get("near") if answers else None
        return nearest_distance(torch.from_numpy(features), self.tensors["training"], near)
