"""What the results are of, in words: the data, the models, and how they are measured, from the params and the code."""

import math
import sys

from toycrystals.config import Params
from toycrystals.dataset import LABELS, VARIANTS
from toycrystals.lattice import LATTICES
from toycrystals.priors.registry import PRIORS
from toycrystals.report.formats import label, listed

_UNITS = {"spacing": ("px", 1.0), "theta": ("°", 180.0 / math.pi), "vacancy": ("%", 100.0), "jitter": ("px", 1.0)}
_PRIORS = {
    "standard": "The prior that the VAE's loss asks for.",
    "mop": "Codes of training images: one of the posteriors nearest in condition is drawn, and a code from it.",
    "diffusion": "A diffusion model learns the distribution of the codes, and draws new ones.",
}
_FIXED = "fixed"
_NAMES = {
    "spacing": "lattice spacing a",
    "theta": "rotation about the central site",
    "vacancy": "share of missing atoms",
    "jitter": "standard deviation of the sites",
}


def data_sentence(params: Params) -> str:
    """How many images, of what."""
    data = params.data
    names = [lattice.name for lattice in LATTICES[: data.n_types]]
    return (
        f"{data.n_train:,} images for training, {data.n_val:,} for validation and {data.n_test:,} for tests, "
        f"{data.image_size} × {data.image_size} pixels, of {listed(names)} lattices drawn as Gaussian atoms "
        f"(variant {data.variant}, seed {params.seed}). For every request the exact image is known."
    )


def factor_rows(params: Params) -> list[list[str]]:
    """A row a factor: name, range, and whether a model sees it."""
    variant = VARIANTS[params.data.variant]
    conditional = params.vae.conditional
    rows = [
        [_NAMES[name], _range(getattr(variant, name), *_UNITS[name]), _seen(getattr(variant, name), shown and conditional)]
        for name, shown in zip(LABELS, variant.visible, strict=True)
    ]
    rows += [
        [f"aspect b/a of {lattice.name} lattices", _range(lattice.aspect_range, "", 1.0), "no"]
        for lattice in LATTICES[: params.data.n_types]
        if lattice.has_aspect
    ]
    type_seen = ("yes" if conditional else "no") if params.data.n_types > 1 else _FIXED
    return [["lattice type", f"{params.data.n_types}, in equal shares", type_seen], *rows]


def _range(ends: tuple[float, float], unit: str, factor: float) -> str:
    space = "" if unit == "°" else " "
    low, high = (f"{factor * end:.4g}" for end in ends)
    return f"{low}{space}{unit}".rstrip() if low == high else f"{low} to {high}{space}{unit}".rstrip()


def _seen(ends: tuple[float, float], shown: bool) -> str:
    if ends[0] == ends[1]:
        return _FIXED
    return "yes" if shown else "no"


def vae_sentence(params: Params) -> str:
    """What the VAE is, and how it is trained."""
    vae = params.vae
    kind = "conditional on type and labels" if vae.conditional else "unconditional: neither type nor labels are shown to it"
    return (
        f"Architecture {vae.architecture}, width {vae.width}, {vae.latent_dim} latent dimensions, {kind}. Loss: squared error "
        f"a pixel + {vae.beta:g} KL; {vae.epochs} epochs, batches of {vae.batch_size}, learning rate {vae.learning_rate:g}."
    )


def prior_rows(names: list[str]) -> list[tuple[str, str]]:
    """(label, what it is) of each prior; one that is not described here by what its module says."""
    return [(label(name), _PRIORS.get(name) or _module_says(name)) for name in names]


def _module_says(name: str) -> str:
    prior = PRIORS.get(name)
    if prior is None:
        return "A prior that is not in this checkout's registry."
    return (sys.modules[prior.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


def measuring_text(params: Params) -> str:
    """On what methods are measured, and how intervals and floors are made."""
    evaluate, sample = params.evaluate, params.sample
    return (
        f"All methods are measured on one list of {sample.n:,} held-out conditions, stratified by type and angle. A diffusion "
        f"prior's sampler takes {sample.steps} steps (eta {sample.eta:g}, guidance {sample.guidance:g}). Intervals are of 95 %: "
        f"bootstrap over conditions within their type, {evaluate.bootstrap:,} replicates, the same for all methods; Wilson's for "
        f"shares. The floor (the ceiling, where higher is better) is what real images score: {evaluate.floor_draws} fresh draws "
        "of the same conditions, measured like a method. At the floor means no worse than one more such draw would be in 19 "
        "cases of 20. A method that is told no conditions has no floor, for those draws are matched to them."
    )
