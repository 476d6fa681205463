"""Codes: a prior's against those of held-out images, and the encoder's own against N(0, I).

Every prior is judged by the codes that it is meant to imitate, posterior means or posterior samples, with the condition
appended: a code is right only for the condition that it was drawn for.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.crystals.conditions import ConditionEncoder, Conditions
from toycrystals.models.vae import Posterior

# A code further out than this many standard deviations of the held-out codes, or not a number, is put there.
_FAR = 20.0
# Variance of the posterior mean over images above which a latent dimension is in use (Burda et al. 2016, section 5.1).
ACTIVE_VARIANCE = 0.01


def condition_features(conditions: Conditions, variant: str, n_types: int) -> NDArray[np.float32]:
    """Type one-hot, sin and cos of the angle in units of the type's period, other visible labels in [-1, 1]: [N, C]."""
    with torch.no_grad():
        features: NDArray[np.float32] = ConditionEncoder(variant, n_types, harmonics=1, conditional=True)(conditions).numpy()
    return features


@dataclass(frozen=True)
class CodeReference:
    """Held-out codes [N, D] that a prior imitates, and the features of their conditions [N, C]."""

    codes: NDArray[np.float32]
    conditions: NDArray[np.float32]

    @property
    def scale(self) -> float:
        """Root mean square deviation of a code's dimension."""
        return max(float(np.sqrt(self.codes.var(axis=0, dtype=np.float64).mean())), 1e-6)

    def joint(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Codes [N, D] in units of the scale, with their conditions: [N, D + C]; wild codes are brought within reach."""
        # float64: the largest float32 in units of a small scale would overflow, with a warning.
        units = (codes.astype(np.float64) - self.codes.mean(axis=0, dtype=np.float64)) / self.scale
        within = np.nan_to_num(units, nan=_FAR, posinf=_FAR, neginf=-_FAR).clip(-_FAR, _FAR)
        return np.concatenate([within, self.conditions], axis=1).astype(np.float32)


def active_units(posterior: Posterior) -> int:
    """How many dimensions the encoder uses."""
    return int((posterior.mu.double().var(dim=0) > ACTIVE_VARIANCE).sum())


class KLSplit(NamedTuple):
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
    own, others = held_out.log_prob(z), training.log_sum(z)  # [N]
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
        # By hand, for torch.distributions would first import sympy, which takes longer than all of this.
        root = torch.linalg.cholesky(covariance)  # [D, D]
        white = torch.linalg.solve_triangular(root, (z.double() - mu.mean(dim=0)).T, upper=False)  # [D, N]
        log_norm = root.diagonal().log().sum() + 0.5 * len(root) * math.log(2.0 * math.pi)
        parts.append(math.log(len(mu) / len(types)) - log_norm - 0.5 * white.square().sum(dim=0))
    return torch.logsumexp(torch.stack(parts), dim=0)
