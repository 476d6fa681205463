"""Each hyperparameter by itself: types, ranges and their ends, and the line in which a wrong value is refused."""

import math
import re

import pytest
from hyperparameters import FIELDS, mistakes, tree

from toycrystals.runtime.config import parse_params

FLOATS = [name for name, field in FIELDS.items() if field.annotation is float]
SCALARS = [name for name in FIELDS if name not in ("sample.curve", "priors")]
# Any text may be a name; whether it is one is a rule, and rules are looked at when types are right.
NAMES = ["data.variant", "sample.sampler"]


def assert_each_is_refused(names, value):
    """All of them at once, and a line for each."""
    found = mistakes(**dict.fromkeys(names, value))
    assert sorted(line.partition(f" = {value!r}: ")[0] for line in found) == sorted(f"params.yaml: {name}" for name in names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_everywhere(value):
    assert len(FLOATS) > 5
    assert_each_is_refused(FLOATS, value)


@pytest.mark.parametrize("value", [[1], None, {"a": 1}, "nonsense"], ids=str)
def test_wrong_types_are_refused_everywhere(value):
    assert_each_is_refused([name for name in SCALARS if value != "nonsense" or name not in NAMES], value)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([], "sample.curve = []"),
        (5, "sample.curve = 5"),
        (None, "sample.curve = None"),
        ([1, 0], "sample.curve.1 = 0"),
        ([1.5], "sample.curve.0 = 1.5"),
        (["many"], "sample.curve.0 = 'many'"),
    ],
    ids=str,
)
def test_a_wrong_list_is_refused_with_the_item_that_is_wrong(value, named):
    (found,) = mistakes(**{"sample.curve": value})
    assert found.startswith(f"params.yaml: {named}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("training_seed", -1),
        ("training_seed", 2**32),
        ("training_seed", 0.5),
        ("seed", 2**63),
        ("seed", 0.0),
        ("seed", True),
        ("data.variant", "rotation"),
        ("data.n_types", 0),
        ("data.n_types", 5),
        ("data.image_size", 15),
        ("data.image_size", 257),
        ("data.n_train", 0),
        ("data.n_val", 0),
        ("data.n_test", 0),
        ("data.n_heldout", 7),
        ("vae.architecture", "gan"),
        ("vae.conditional", 1),
        ("vae.condition_dropout", -0.1),
        ("vae.condition_dropout", 1.0),
        ("vae.harmonics", 0),
        ("vae.harmonics", 65),
        ("vae.latent_dim", 0),
        ("vae.latent_dim", 1025),
        ("vae.width", 15),
        ("vae.width", 8193),
        ("vae.beta", -1e-9),
        ("vae.beta", "1e-5"),
        ("vae.beta", True),
        ("vae.free_bits", -1e-9),
        ("vae.kl_warmup_epochs", -1),
        ("vae.epochs", 0),
        ("vae.epochs", 14.0),
        ("vae.epochs", True),
        ("vae.batch_size", 0),
        ("vae.learning_rate", 0.0),
        ("vae.learning_rate", "banana"),
        ("vae.precision", "fp16"),
        ("diffusion.conditional", "on"),
        ("diffusion.conditional", 1),
        ("diffusion.conditional", 0),
        ("diffusion.condition_dropout", 1.0),
        ("diffusion.scaling", "none"),
        ("diffusion.schedule", "sqrt"),
        ("diffusion.timesteps", 1),
        ("diffusion.timesteps", 10001),
        ("diffusion.prediction", "x"),
        ("diffusion.harmonics", 65),
        ("diffusion.width", 15),
        ("diffusion.width", 4097),
        ("diffusion.blocks", 0),
        ("diffusion.blocks", 65),
        ("diffusion.ema_decay", 1.0),
        ("diffusion.epochs", 0),
        ("diffusion.batch_size", 0),
        ("diffusion.learning_rate", -1.0),
        ("mop.neighbours", 0),
        ("mop.neighbours", "nearest"),
        ("local.neighbours", 1.5),
        ("local.slope_neighbours", 0),
        ("local.slope_neighbours", "auto"),
        ("sample.draws", 0),
        ("sample.steps", 0),
        ("sample.eta", -0.1),
        ("sample.eta", 1.1),
        ("sample.guidance", -0.1),
        ("metrics.theta_step", 0.0),
        ("metrics.theta_step", 2.1),
        ("metrics.aspect_step", 0.0),
        ("metrics.aspect_step", 0.051),
        ("metrics.components", 1),
        ("metrics.components", 513),
        ("metrics.neighbours", 0),
        ("metrics.candidates", 0),
        ("floor.draws", 1),
        ("evaluate.bootstrap", 99),
        ("evaluate.bootstrap", 10001),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_value(name, value):
    found = mistakes(**{name: value})
    assert len(found) == 1
    assert re.match(rf"params\.yaml: {re.escape(name)} = {re.escape(repr(value))}: [a-z]", found[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("data.n_types", 1),
        ("data.image_size", 16),
        ("data.image_size", 256),
        ("vae.beta", 0),
        ("vae.condition_dropout", 0.0),
        ("vae.conditional", False),
        ("diffusion.conditional", True),
        ("diffusion.conditional", False),
        ("diffusion.ema_decay", 0.0),
        ("mop.neighbours", 1),
        ("mop.neighbours", "auto"),
        ("local.slope_neighbours", 1),
        ("sample.eta", 1.0),
        ("sample.eta", 0),
        ("metrics.theta_step", 2.0),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(name, value):
    section, _, key = name.rpartition(".")
    params = parse_params(tree(**{name: value}))
    assert getattr(getattr(params, section) if section else params, key) == value
