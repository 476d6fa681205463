"""The committed params with some values changed, what is told of mistakes in them, and all of their names."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from toycrystals.runtime.config import Section, parse_params
from toycrystals.runtime.errors import UserError

COMMITTED = Path(__file__).parents[1] / "params.yaml"
# Small and far from every rule, whatever the committed values are.
PLAIN = {
    "priors": ["standard", "mop", "local", "diffusion"],
    "data.variant": "rot_only",
    "data.image_size": 64,
    "data.n_train": 100,
    "data.n_test": 50,
    "data.n_heldout": 20,
    "vae.architecture": "mlp",
    "vae.conditional": True,
    "vae.epochs": 5,
    "vae.kl_warmup_epochs": 0,
    "vae.batch_size": 10,
    "diffusion.conditional": "auto",
    "diffusion.condition_dropout": 0.0,
    "diffusion.timesteps": 100,
    "diffusion.batch_size": 10,
    "mop.neighbours": 8,
    "local.neighbours": 8,
    "metrics.candidates": 100,
    "sample.sampler": "ddim",
    "sample.steps": 10,
    "sample.eta": 0.0,
    "sample.curve": [1, 100],
    "sample.guidance": 1.0,
}


@cache
def _committed():
    return YAML(typ="safe", pure=True).load(COMMITTED)


def tree(**changes):
    """The committed tree with `PLAIN` and then `changes` put in, by dotted name."""
    content = deepcopy(_committed())
    for name, value in (PLAIN | changes).items():
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = value
    return content


def without(name, **changes):
    """The tree that `tree` gives, but for one value or section."""
    content = tree(**changes)
    section, _, key = name.rpartition(".")
    del (content[section] if section else content)[key]
    return content


def refused(content):
    """The lines in which `content` is refused."""
    with pytest.raises(UserError) as info:
        parse_params(content, "params.yaml")
    return str(info.value).split("\n")


def mistakes(**changes):
    return refused(tree(**changes))


def fields_of(model, prefix=""):
    """Dotted name and field of every value of `model`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


# With the sections of all priors.
MODEL = type(parse_params(tree()))
FIELDS = dict(fields_of(MODEL))
SECTIONS = [name for name in MODEL.model_fields if name not in FIELDS]
