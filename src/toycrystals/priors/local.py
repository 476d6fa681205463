"""A locally linear prior, without training: what the training codes next to a request already tell.

p(z | c) = 1/K sum_k N(z; mu_k + B_k (c - c_k), diag exp(logvar_k)) over the K training images nearest in condition: the mixture
of posteriors, each moved to the request. B_k is the slope of the means on the visible labels by least squares (locally weighted
regression, Cleveland 1979) over those R of the K that are nearest to k in code, and so in what the condition leaves open. Where
no label is visible there is nothing to move along, and this is the mixture of posteriors.
"""

import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions, label_offset
from toycrystals.models.vae import Posterior
from toycrystals.priors.exemplars import ExemplarPrior, ExemplarSection
from toycrystals.runtime.config import Count

# Numbers [requests, K, R, D], and distances [requests, K, K], that are held at once.
_NUMBERS = 1 << 23
# In units of the largest offset: labels that do not differ have no slope.
_RIDGE = 1e-4


class Config(ExemplarSection):
    """K, and R, how many codes near an exemplar give its slope."""

    slope_neighbours: Count


class Prior(ExemplarPrior):
    """Each component is the posterior of a training image, moved to the request."""

    def draw(self, asked: Conditions, candidates: Tensor, pick: Tensor, generator: torch.Generator) -> Tensor:
        """A code [n, D] of component pick [n]."""
        eps = torch.randn((len(pick), self.space.latent_dim), generator=generator, device=generator.device)
        posterior = self._moved(asked, candidates, pick[:, None])
        return (posterior.mu + (posterior.logvar / 2).exp() * eps[:, None]).squeeze(1).float()

    def components(self, asked: Conditions, candidates: Tensor, codes: Tensor) -> Tensor:
        """log p_k(z | c): [n, K], float64."""
        every = torch.arange(candidates.shape[1], device=codes.device).expand_as(candidates)
        k = candidates.shape[1]
        step = max(1, _NUMBERS // (k * max(k, self.config.slope_neighbours * codes.shape[1])))
        return torch.cat([
            self._moved(asked[rows], candidates[rows], every[rows]).log_prob(codes[rows, None])
            for rows in torch.split(torch.arange(len(codes), device=codes.device), step)
        ])  # fmt: skip

    def _moved(self, asked: Conditions, candidates: Tensor, of: Tensor) -> Posterior:
        """Of n requests of one type and their exemplars `candidates` [n, K], those `of` [n, j], moved: float64 [n, j, D]."""
        near = self.exemplars.to(asked.type.device)[candidates]
        mu, deviation = near.posterior.mu.double(), (near.posterior.logvar.double() / 2).exp()
        kind, variant = int(asked.type[0]), self.space.variant
        offset = label_offset(near.conditions.labels, asked.labels[:, None], kind, variant).double()  # [n, K, V]
        offset = offset / offset.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
        rows = torch.arange(len(mu), device=mu.device)[:, None]
        own, scale = mu[rows, of], deviation.square().mean(dim=1, keepdim=True).sqrt()
        distance = torch.cdist(own / scale, mu / scale)  # [n, j, K]
        r = min(self.config.slope_neighbours, mu.shape[1])
        around = rows[..., None], distance.topk(r, dim=2, largest=False).indices  # [n, j, R]
        x, y = (part[around] - part[around].mean(dim=2, keepdim=True) for part in (offset, mu))
        gram = x.mT @ x + _RIDGE * torch.eye(x.shape[3], dtype=x.dtype, device=x.device)
        slope = torch.linalg.solve(gram, x.mT @ y)  # [n, j, V, D]
        moved = own - (offset[rows, of][:, :, None] @ slope).squeeze(2)
        return Posterior(moved, 2.0 * deviation[rows, of].log())
