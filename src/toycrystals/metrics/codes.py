"""All measures of a prior's codes, and of what the encoder's own codes would score in its place."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.crystals.dataset import DatasetSpec
from toycrystals.metrics import classifiers, mmd  # noqa: F401 (measures register themselves)
from toycrystals.metrics.base import ON_CODES, JudgedCodes, Measures, measured, on_codes
from toycrystals.metrics.copying import close, nearest_distance, same_condition
from toycrystals.metrics.intervals import Floats, Weights
from toycrystals.metrics.latent import condition_features, conditional_moments, residuals
from toycrystals.metrics.truth import copy_measures
from toycrystals.models.latents import Latents, held_out_codes


@on_codes("copying", copy_code="near")
def copies_of_codes(judged: JudgedCodes) -> Measures:
    """The share of codes that are close to a training code."""
    return copy_measures("copy_code", judged.copies, judged.types, judged.weights)


class CodeJudge:
    """Measures codes drawn for the held-out conditions, beside codes of the held-out images.

    `candidates`: see `same_condition`; None for models without conditions, whose codes are compared without them.
    """

    def __init__(self, spec: DatasetSpec, training: Latents, held_out: Latents, candidates: int | None, seed: int) -> None:
        self.variant = spec.variant
        self.training, self.deviation = training.posterior.mu, torch.exp(0.5 * training.posterior.logvar)
        self.codes = held_out_codes(held_out, seed)
        if candidates is None:
            self.near, self.types = None, None
            self.features: NDArray[np.float32] = np.empty((len(held_out), 0), dtype=np.float32)
            mu = training.posterior.mu.double()
            variance = mu.var(dim=0) + training.posterior.logvar.double().exp().mean(dim=0)
            self.moments = mu.mean(dim=0), variance.sqrt()
        else:
            self.near = same_condition(held_out.conditions, training.conditions, spec.variant, candidates)
            self.types = held_out.conditions.type.numpy()
            self.features = condition_features(held_out.conditions, spec.variant, spec.n_types)
            self.moments = conditional_moments(held_out.conditions, training, spec.variant)
        self.real_distance = self._distance(self.codes)

    def __call__(self, codes: Tensor, weights: Weights) -> Measures:
        """Measure codes [N, D], code i for held-out condition i."""
        copies = close(self._distance(codes), self.real_distance, self.types, self.variant)
        judged = JudgedCodes(
            codes.nan_to_num().numpy(),
            self.codes.numpy(),
            self._joint(codes),
            self._joint(self.codes),
            copies,
            self.types,
            weights,
        )
        return measured(ON_CODES, judged)

    def _joint(self, codes: Tensor) -> NDArray[np.float32]:
        """Codes [N, D] in the units of their condition, with its features: [N, D + C]."""
        return np.concatenate([residuals(codes, *self.moments), self.features], axis=1)

    def _distance(self, codes: Tensor) -> Floats:
        return nearest_distance(codes, self.training, self.near, self.deviation)
