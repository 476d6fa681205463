"""The committed params with some values changed, what is told of mistakes in them, and all of their names."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from toycrystals.config import Params, Section, parse_params
from toycrystals.errors import UserError

COMMITTED = Path(__file__).parents[1] / "params.yaml"
# Small and far from every rule, whatever the committed values are.
PLAIN = {
    "data.variant": "rot_only",
    "data.image_size": 64,
    "data.n_train": 100,
    "data.n_test": 50,
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
    "evaluate.candidates": 100,
    "features.batch_size": 10,
    "sample.n": 20,
    "sample.steps": 10,
    "sample.curve": [1, 100],
    "sample.guidance": 1.0,
}


def tree(**changes):
    """The committed tree with `PLAIN` and then `changes` put in, by dotted name."""
    content = YAML(typ="safe", pure=True).load(COMMITTED)
    for name, value in (PLAIN | changes).items():
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = value
    return content


def mistakes(**changes):
    with pytest.raises(UserError) as info:
        parse_params(tree(**changes), "params.yaml")
    return str(info.value).split("\n")


def fields_of(model, prefix=""):
    """Dotted name, field and owner of every value of `model`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


FIELDS = dict(fields_of(Params))
