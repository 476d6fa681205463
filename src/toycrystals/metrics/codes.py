"""All measures of a prior's codes, and of what the encoder's own codes would score in its place."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.core.rng import HELD_OUT, make_generator
from toycrystals.crystals.dataset import DatasetSpec
from toycrystals.metrics import classifiers, mmd  # noqa: F401 (measures register themselves)
from toycrystals.metrics.base import ALL, ON_CODES, JudgedCodes, Measures, declare, measured, on_codes
from toycrystals.metrics.copying import close, nearest_distance, same_condition
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.metrics.latent import CodeReference, active_units, condition_features, split_kl
from toycrystals.metrics.truth import copy_measures
from toycrystals.models.latents import Latents, imitated

declare(
    "latent", rate="near", mutual_information_low="near", mutual_information_high="near", aggregate_kl_low="near",
    aggregate_kl_high="near", active_units="near",
)  # fmt: skip


@on_codes("copying", copy_code="lower")
def copies_of_codes(judged: JudgedCodes) -> Measures:
    """The share of codes that are close to a training code."""
    return copy_measures("copy_code", judged.copies, judged.types, judged.weights)


class CodeJudge:
    """Measures codes drawn for the held-out conditions, beside the held-out codes that a prior of `posterior_width` imitates.

    `candidates`: see `same_condition`; None for models without conditions, whose codes are compared without them.
    """

    def __init__(
        self, spec: DatasetSpec, training: Latents, held_out: Latents, candidates: int | None, posterior_width: float, seed: int
    ) -> None:
        self.training, self.deviation = training.posterior.mu, torch.exp(0.5 * training.posterior.logvar)
        if candidates is None:
            self.near, self.types = None, None
            conditions: NDArray[np.float32] = np.empty((len(held_out), 0), dtype=np.float32)
        else:
            self.near = same_condition(held_out.conditions, training.conditions, spec.variant, candidates)
            self.types = held_out.conditions.type.numpy()
            conditions = condition_features(held_out.conditions, spec.variant, spec.n_types)
        self.reference = CodeReference(imitated(held_out, posterior_width, seed).numpy(), conditions)
        self.real_distance = self._distance(torch.from_numpy(self.reference.codes))

    def __call__(self, codes: Tensor, weights: Weights) -> Measures:
        """Measure codes [N, D], code i for held-out condition i."""
        joint, real_joint = self.reference.joint(codes.numpy()), self.reference.joint(self.reference.codes)
        copies = close(self._distance(codes), self.real_distance, self.types)
        return measured(ON_CODES, JudgedCodes(joint, real_joint, copies, self.types, weights))

    def _distance(self, codes: Tensor) -> Floats:
        return nearest_distance(codes, self.training, self.near, self.deviation)


def encoder_measures(training: Latents, held_out: Latents, seed: int) -> Measures:
    """What the encoder's codes are like, whatever prior: rate, its split in two, units in use. Bounds have no interval."""
    generator = make_generator(seed, HELD_OUT)
    rate, low, high = split_kl(held_out.posterior, training.posterior, training.conditions.type, generator)
    values = {
        "rate": rate,
        "mutual_information_low": low,
        "mutual_information_high": high,
        "aggregate_kl_low": rate - high,
        "aggregate_kl_high": rate - low,
        "active_units": active_units(held_out.posterior),
    }
    return {(name, ALL): Estimate(float(value)) for name, value in values.items()}
