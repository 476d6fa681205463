"""Codes: a prior's against those of held-out images, and the encoder's own against N(0, I).

Every prior is judged by the codes that it is meant to imitate, posterior means or posterior samples, with the condition
appended: a code is right only for the condition that it was drawn for.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.conditioning import ConditionEncoder, Conditions
from toycrystals.dataset import VariantName
from toycrystals.metrics.classifiers import boosted_auc, linear_auc
from toycrystals.metrics.distribution import frechet, random_directions, sliced_wasserstein
from toycrystals.metrics.intervals import Estimate, Floats, Weights, mean
from toycrystals.metrics.mmd import bandwidths, mmd2
from toycrystals.vae import Posterior

_DIRECTIONS = 64
_CHUNK = 512
# A code further out than this many standard deviations of the held-out codes, or not a number, is put there.
_FAR = 20.0
# Variance of the posterior mean over images above which a latent dimension is in use (Burda et al. 2016, section 5.1).
ACTIVE_VARIANCE = 0.01


def condition_features(conditions: Conditions, variant: VariantName, n_types: int) -> NDArray[np.float32]:
    """Type one-hot, sin and cos of the angle in units of the type's period, other visible labels in [-1, 1]: [N, C]."""
    with torch.no_grad():
        features: NDArray[np.float32] = ConditionEncoder(variant, n_types, harmonics=1, conditional=True)(conditions).numpy()
    return features


@dataclass(frozen=True)
class CodeReference:
    """Held-out codes [N, D] that a prior imitates, the features of their conditions [N, C], and what is measured from them."""

    codes: NDArray[np.float32]
    conditions: NDArray[np.float32]

    @property
    def scale(self) -> float:
        """Root mean square deviation of a code's dimension."""
        return max(float(np.sqrt(self.codes.var(axis=0, dtype=np.float64).mean())), 1e-6)

    def joint(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Codes [N, D] in units of the scale, with their conditions: [N, D + C]; wild codes are brought within reach."""
        return np.concatenate([self._units(codes), self.conditions], axis=1).astype(np.float32)

    def _units(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        # float64: the largest float32 in units of a small scale would overflow, with a warning.
        units = (codes.astype(np.float64) - self.codes.mean(axis=0, dtype=np.float64)) / self.scale
        within = np.nan_to_num(units, nan=_FAR, posinf=_FAR, neginf=-_FAR).clip(-_FAR, _FAR)
        return np.asarray(within, dtype=np.float32)

    def measure(self, codes: NDArray[np.float32], weights: Weights) -> dict[str, Estimate]:
        """Two-sample measures between codes [N, D], one for each held-out condition, and the held-out codes."""
        x, y = self.joint(self.codes), self.joint(codes)
        directions = random_directions(x.shape[1], _DIRECTIONS, seed=0)
        return {
            "latent_mmd2": mmd2(x, y, bandwidths(x), weights),
            "latent_frechet": frechet(x, y, weights),
            "latent_sliced_w2": sliced_wasserstein(x, y, directions, weights),
            "latent_auc_linear": linear_auc(x, y, weights),
            "latent_auc_boosted": boosted_auc(x, y, weights),
        }

    def energy_score(self, rows: NDArray[np.int64], draws: NDArray[np.float32], weights: Weights) -> Estimate:
        """Mean conditional energy score of `draws` [M, K, D] for the conditions in `rows` [M], in units of the scale."""
        truth = self._units(self.codes[rows])
        return mean(energy_scores(self._units(draws).astype(np.float64), truth.astype(np.float64)), weights[:, rows])


def energy_scores(draws: Floats, truth: Floats) -> Floats:
    """E|Z - z| - E|Z - Z'| / 2 of K draws of Z a row: draws [M, K, D], truth z [M, D] -> [M]; lower is better.

    A strictly proper score (Gneiting and Raftery 2007, section 4.3): in expectation only the true p(z | c) is the lowest. The
    second mean is over pairs of different draws, so that the estimate has no bias in K.
    """
    k = draws.shape[1]
    to_truth = np.linalg.norm(draws - truth[:, None], axis=2).mean(axis=1)
    between = sum(np.linalg.norm(draws - np.roll(draws, shift, axis=1), axis=2).sum(axis=1) for shift in range(1, k))
    return np.asarray(to_truth - between / (2 * k * (k - 1)))


def active_units(posterior: Posterior) -> int:
    """How many dimensions the encoder uses."""
    return int((posterior.mu.double().var(dim=0) > ACTIVE_VARIANCE).sum())


@dataclass(frozen=True)
class KLSplit:
    """The rate KL(q(z|x) || p(z)) of held-out images in nats, and bounds on the first of its two parts.

    rate = I(x; z) + KL(q(z) || p(z)): what a code tells about its image, and how far the aggregated posterior is from the prior
    (Hoffman and Johnson 2016). So the second part lies between rate - mi_high and rate - mi_low.
    """

    rate: float
    mi_low: float
    mi_high: float


def split_kl(held_out: Posterior, training: Posterior, types: Tensor, generator: torch.Generator) -> KLSplit:
    """Split the rate of `held_out` [N, D], with the M posteriors of `training`, of `types` [M], standing for the aggregate.

    From below, I(x; z) is bounded with the image's own posterior among the M + 1 of the aggregate (Poole et al. 2019, section
    2); this cannot exceed log(M + 1). From above, by E log q(z|x) - E log r(z) for any density r (Barber and Agakov 2003), the
    least of four: r is the training posteriors' mixture, which is sharp where they overlap; one normal a type, which holds
    where they do not; both in equal parts; or the prior, which gives the rate.
    """
    z = held_out.sample(generator)
    own = _log_normal(z[:, None], held_out.mu[:, None], held_out.logvar[:, None])[:, 0]  # [N]
    others = torch.cat([_log_sum(part, training) for part in torch.tensor_split(z, len(z) // _CHUNK + 1)])
    m = len(training.mu)
    with_own = torch.logaddexp(own, others) - math.log(m + 1)
    rate = float(held_out.kl().double().sum(dim=1).mean())
    posteriors, normals = others - math.log(m), _log_mixture(z, training, types)
    densities = (posteriors, normals, torch.logaddexp(posteriors, normals) - math.log(2.0))
    high = min(rate, *(float((own - log_r).mean()) for log_r in densities))
    return KLSplit(rate, min(high, float((own - with_own).mean())), high)


def _log_mixture(z: Tensor, training: Posterior, types: Tensor) -> Tensor:
    """log density [N] at z [N, D] of one normal a type, with the mean and covariance of the type's aggregated posterior."""
    parts = []
    for k in sorted(set(types.tolist())):
        mu, variance = training.mu[types == k].double(), training.logvar[types == k].double().exp()
        centred = mu - mu.mean(dim=0)
        covariance = centred.T @ centred / len(mu) + torch.diag(variance.mean(dim=0))
        normal = torch.distributions.MultivariateNormal(mu.mean(dim=0), covariance)
        log_prob: Tensor = normal.log_prob(z.double())  # type: ignore[no-untyped-call]
        parts.append(log_prob + math.log(len(mu) / len(types)))
    return torch.logsumexp(torch.stack(parts), dim=0)


def _log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), summed over the last dimension, in float64."""
    z, mu, logvar = z.double(), mu.double(), logvar.double()
    return -0.5 * ((z - mu).square() * (-logvar).exp() + logvar + math.log(2.0 * math.pi)).sum(dim=-1)


def _log_sum(z: Tensor, training: Posterior) -> Tensor:
    """log sum_m N(z_n; mu_m, exp(logvar_m)) for z [n, D]: [n]."""
    mu, logvar = training.mu.double(), training.logvar.double()
    precision = (-logvar).exp()
    z = z.double()
    # (z - mu)^2 / var = z^2 / var - 2 z mu / var + mu^2 / var: two products of matrices instead of an array [n, M, D].
    quadratic = z.square() @ precision.T - 2.0 * z @ (mu * precision).T
    constant = (mu.square() * precision + logvar + math.log(2.0 * math.pi)).sum(dim=1)
    return torch.logsumexp(-0.5 * (quadratic + constant), dim=1)
