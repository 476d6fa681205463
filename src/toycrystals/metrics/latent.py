"""Codes in the units of their condition, and what is known of densities: the encoder's, the true one's, and each prior's."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.crystals.conditions import ConditionEncoder, Conditions, label_offset, nearest_conditions
from toycrystals.metrics.base import Measures, by_type, declare
from toycrystals.metrics.intervals import Weights, mean
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior

# A code further out than this many standard deviations of its condition, or not a number, is put there.
_FAR = 20.0
# Variance of the posterior mean over images above which a latent dimension is in use (Burda et al. 2016, section 5.1).
ACTIVE_VARIANCE = 0.01
# Training codes nearest in condition whose regression says where codes of a condition lie.
_NEIGHBOURS = 64

declare("latent", rate="lower", kl_oracle="lower", mutual_information="near", active_units="near")


def condition_features(conditions: Conditions, variant: str, n_types: int) -> NDArray[np.float32]:
    """Type one-hot, sin and cos of the angle in units of the type's period, other visible labels in [-1, 1]: [N, C]."""
    with torch.no_grad():
        features: NDArray[np.float32] = ConditionEncoder(variant, n_types, harmonics=1, conditional=True)(conditions).numpy()
    return features


def conditional_moments(asked: Conditions, training: Latents, variant: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [N, D] of codes given each of N conditions, float64.

    Local-linear regression of the means of training posteriors on the visible labels; the variance is what it leaves, and that of
    the posteriors themselves. Where a type has no visible label, it is that of the whole type.
    """
    mean, deviation = torch.empty((2, len(asked), training.posterior.mu.shape[1]), dtype=torch.float64)
    for rows, near in nearest_conditions(asked, training.conditions, variant, _NEIGHBOURS):
        codes = training[near]
        mu, variance = codes.posterior.mu.double(), codes.posterior.logvar.double().exp()
        if near.ndim == 1:
            centre, left = mu.mean(dim=0), mu - mu.mean(dim=0)
        else:
            labels, kind = asked.labels[rows, None], int(asked.type[rows[0]])
            offset = label_offset(codes.conditions.labels, labels, kind, variant).double()  # [n, K, V]
            offset = offset / offset.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
            x, y = (part - part.mean(dim=1, keepdim=True) for part in (offset, mu))
            slope = torch.linalg.solve(x.mT @ x + 1e-6 * torch.eye(x.shape[2], dtype=x.dtype), x.mT @ y)  # [n, V, D]
            centre = mu.mean(dim=1) - (offset.mean(dim=1, keepdim=True) @ slope).squeeze(1)
            left = y - x @ slope
        mean[rows], deviation[rows] = centre, (left.square().mean(dim=-2) + variance.mean(dim=-2)).sqrt()
    return mean, deviation


def residuals(codes: Tensor, mean: Tensor, deviation: Tensor) -> NDArray[np.float32]:
    """(z - mean(c)) / deviation(c) of codes [N, D]; wild codes are brought within reach."""
    units = (codes.double() - mean) / deviation
    return np.asarray(units.nan_to_num(_FAR, _FAR, -_FAR).clamp(-_FAR, _FAR).numpy(), dtype=np.float32)


def active_units(posterior: Posterior) -> int:
    """How many dimensions the encoder uses."""
    return int((posterior.mu.double().var(dim=0) > ACTIVE_VARIANCE).sum())


def nats(
    log_prior: Tensor, log_posterior: Tensor, log_oracle: Tensor | None, types: NDArray[np.int64], weights: Weights
) -> Measures:
    """What a prior p(z | c) costs, from its log-density at codes z ~ q(z | x, c) of held-out images: [n] each.

    rate = E log q(z | x, c) - log p(z | c) = E KL(q(z | x, c) || p), the rate of the evidence lower bound with this prior. It is
    I(x; z | c) + E KL(q(z | c) || p) (Hoffman and Johnson 2016): what a code tells about its image whatever the prior, and
    `kl_oracle`, how far the prior is from the true density, where that is known.
    """
    measures = by_type("rate", (log_posterior - log_prior).numpy(), types, weights, mean)
    if log_oracle is not None:
        measures |= by_type("kl_oracle", (log_oracle - log_prior).numpy(), types, weights, mean)
    return measures


def information(log_posterior: Tensor, log_oracle: Tensor | None, types: NDArray[np.int64], weights: Weights) -> Measures:
    """I(x; z | c) = E log q(z | x, c) - log q(z | c) in nats, where the oracle is known."""
    if log_oracle is None:
        return {}
    return by_type("mutual_information", (log_posterior - log_oracle).numpy(), types, weights, mean)
