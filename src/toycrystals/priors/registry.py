"""The priors by name. Imported only by what restores a prior, so that a new one retrains none of the others."""

from typing import Any

from torch import Tensor

from toycrystals.priors.base import Prior, SamplerSettings
from toycrystals.priors.diffusion import DiffusionPrior
from toycrystals.priors.mop import MixtureOfPosteriors
from toycrystals.priors.standard import StandardNormal

PRIORS: dict[str, type[Prior]] = {
    "standard": StandardNormal,
    "mop": MixtureOfPosteriors,
    "diffusion": DiffusionPrior,
}


def restore_prior(name: str, tensors: dict[str, Tensor], meta: dict[str, Any], sampler: SamplerSettings) -> Prior:
    """The prior called `name`, from what its `tensors_and_meta` gave."""
    return PRIORS[name].restore(tensors, meta, sampler)
