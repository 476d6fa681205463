"""The true density of codes given a condition, where the condition and the aspect alone determine the image.

q(z | c) = E_x q(z | x, c): of most types one posterior; of rectangular crystals, whose aspect is uniform and never a label, the
mean over `ASPECTS` of them.
"""

import math

import numpy as np
import torch
from torch import Tensor

from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import exact_bytes
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import FACTORS, VARIANTS, is_determined
from toycrystals.models.latents import encode
from toycrystals.models.vae import VAE, Posterior

# So many that neighbouring posteriors overlap.
ASPECTS = 256
_IMAGES = 4096  # held at once


def log_oracle(vae: VAE, codes: Tensor, conditions: Conditions, device: torch.device) -> Tensor | None:
    """log q(z | c) in nats of codes [N, D] on the CPU: [N], float64.

    None where it is not known: of images with disorder, and of a VAE that is not told the condition.
    """
    variant, size = vae.config.variant, vae.config.image_size
    if not (vae.config.conditional and is_determined(variant)):
        return None
    # A label that does not vary is hidden, and has its one value.
    fixed = np.array([getattr(VARIANTS[variant], name)[0] for name in FACTORS[:2]])
    seen = np.array(VARIANTS[variant].visible[:2])
    result = torch.empty(len(codes), dtype=torch.float64)
    for k in sorted(set(conditions.type.tolist())):
        low, high = LATTICES[k].aspect_range
        count = ASPECTS if LATTICES[k].has_aspect else 1
        aspects = low + (np.arange(count) + 0.5) / count * (high - low)
        for rows in (conditions.type == k).nonzero().squeeze(1).split(_IMAGES // count):
            known = np.where(seen, conditions.labels[rows, :2].numpy().astype(np.float64), fixed).repeat(count, axis=0)
            images = exact_bytes(k, known[:, 0], known[:, 1], np.tile(aspects, len(rows)), size)
            asked = Conditions(*(part[rows].repeat_interleave(count, dim=0) for part in (conditions.type, conditions.labels)))
            posterior = encode(vae, torch.from_numpy(images)[:, None], asked, device).posterior
            each = Posterior(*(part.view(len(rows), count, -1) for part in (posterior.mu, posterior.logvar)))
            result[rows] = each.log_prob(codes[rows, None]).logsumexp(dim=1) - math.log(count)
    return result
