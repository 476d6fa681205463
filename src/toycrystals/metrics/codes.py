"""All measures of a prior's codes, and of what the encoder's own codes would score in its place."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.dataset import DatasetSpec
from toycrystals.latents import Latents, imitated
from toycrystals.metrics.copying import close, nearest_distance, same_condition
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.metrics.latent import CodeReference, active_units, condition_features, split_kl
from toycrystals.metrics.truth import ALL, Measures, copy_measures
from toycrystals.rng import HELD_OUT, make_generator


class CodeJudge:
    """Measures codes drawn for the held-out conditions.

    `candidates`: see `same_condition`; None for models without conditions, whose codes are compared without them.
    """

    def __init__(self, spec: DatasetSpec, training: Latents, held_out: Latents, candidates: int | None, seed: int) -> None:
        self.training, self.held_out, self.seed = training, held_out, seed
        self.deviation = torch.exp(0.5 * training.posterior.logvar)
        if candidates is None:
            self.near, self.conditions = None, np.empty((len(held_out), 0), dtype=np.float32)
            self.types = np.zeros(len(held_out), dtype=np.int64)
        else:
            self.near = same_condition(held_out.conditions, training.conditions, spec.variant, candidates)
            self.types = held_out.conditions.type.numpy()
            self.conditions = condition_features(held_out.conditions, spec.variant, spec.n_types)

    def reference(self, posterior_width: float) -> CodeReference:
        """The held-out codes that a prior of that width is judged by."""
        return CodeReference(imitated(self.held_out, posterior_width, self.seed).numpy(), self.conditions)

    def __call__(self, codes: Tensor, posterior_width: float, weights: Weights) -> Measures:
        """Two-sample measures of codes [N, D], code i for held-out condition i, and the share close to a training code."""
        reference = self.reference(posterior_width)
        measures = {(name, ALL): estimate for name, estimate in reference.measure(codes.numpy(), weights).items()}
        copies = close(self._distance(codes), self._distance(torch.from_numpy(reference.codes)), self.types)
        return measures | copy_measures("copy_code", *copies, self.types, weights)

    def energy_score(
        self, rows: NDArray[np.int64], draws: NDArray[np.float32], posterior_width: float, weights: Weights
    ) -> Measures:
        """The conditional energy score of `draws` [M, K, D] for the held-out conditions in `rows` [M]."""
        return {("latent_energy_score", ALL): self.reference(posterior_width).energy_score(rows, draws, weights)}

    def _distance(self, codes: Tensor) -> Floats:
        return nearest_distance(codes, self.training.posterior.mu, self.near, self.deviation)

    def encoder_measures(self) -> Measures:
        """What the encoder's codes are like, whatever prior: rate, its split in two, units in use. Bounds have no interval."""
        split = split_kl(
            self.held_out.posterior, self.training.posterior, self.training.conditions.type, make_generator(self.seed, HELD_OUT)
        )
        values = {
            "rate": split.rate,
            "mutual_information_low": split.mi_low,
            "mutual_information_high": split.mi_high,
            "aggregate_kl_low": split.rate - split.mi_high,
            "aggregate_kl_high": split.rate - split.mi_low,
            "active_units": float(active_units(self.held_out.posterior)),
        }
        return {(name, ALL): Estimate(value) for name, value in values.items()}
