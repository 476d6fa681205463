"""A made-up encoder of four numbers, whose codes are known in closed form."""

import numpy as np
import torch

from toycrystals.crystals.conditions import Conditions
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior

DEVIATION = 0.02


def posteriors(samples, seed):
    """Two numbers say type and angle, one says what the condition leaves open, one says nothing."""
    rng = np.random.default_rng(seed)
    theta, hidden = samples.factors[:, 1], rng.normal(size=len(samples))
    mu = np.stack([samples.type + np.sin(6 * theta), np.cos(6 * theta), hidden, np.zeros(len(samples))], axis=1)
    logvar = np.tile(np.log([DEVIATION**2] * 3 + [1.0]), (len(samples), 1))
    conditions = Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))
    return Latents(Posterior(torch.from_numpy(mu).float(), torch.from_numpy(logvar).float()), conditions)
