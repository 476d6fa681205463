"""What every prior is, whichever it is: found by its name, fitted, sampled, written and restored in the same way."""

import importlib
from dataclasses import replace
from inspect import signature

import pytest
import torch
from hyperparameters import COMMITTED
from small_priors import SETTINGS, latents, space

from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.priors.base import BasePrior, find_prior, held_out_nll
from toycrystals.runtime.config import PriorSection, load_params, prior_names
from toycrystals.runtime.errors import UserError

DIM = 3
PARAMS = load_params(COMMITTED)
every_prior = pytest.mark.parametrize("name", prior_names())


def test_a_prior_is_a_module_with_its_hyperparameters_and_itself():
    for name in prior_names():
        module = find_prior(name)
        assert module is importlib.import_module(f"toycrystals.priors.{name}")
        assert issubclass(module.Config, PriorSection)
        assert issubclass(module.Prior, BasePrior)


@pytest.mark.parametrize("name", ["base", "exemplars", "generator", "nonsense", "__init__", ""])
def test_what_is_no_prior_is_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"^prior {name!r}: expected a file src/toycrystals/priors/{name}.py; found none$"):
        find_prior(name)


@every_prior
def test_methods_have_the_arguments_of_the_protocol(name):
    prior = find_prior(name).Prior
    for method in ("fit", "sample", "log_prob", "require", "restore"):
        assert [*signature(getattr(prior, method)).parameters] == [*signature(getattr(BasePrior, method)).parameters]


def test_held_out_nll_is_the_mean_over_one_code_of_each_posterior():
    val = latents(50, DIM)

    class Told(BasePrior):
        def log_prob(self, codes, conditions):
            assert torch.equal(codes, val.posterior.sample(make_generator(7, VALIDATION)))
            assert conditions is val.conditions
            return torch.arange(50.0)

    assert held_out_nll(Told(None, space(DIM)), val, seed=7) == -24.5


def test_a_prior_without_a_density_says_so():
    with pytest.raises(NotImplementedError):
        BasePrior(None, space(DIM)).log_prob(torch.zeros(1, DIM), latents(1, DIM).conditions)


@every_prior
def test_codes_are_told_by_generator_and_settings_alone_and_are_finite(name):
    if not hasattr(PARAMS, name):
        pytest.skip("params.yaml has no section of it")
    small = {"width": 16, "blocks": 1, "epochs": 1, "batch_size": 32, "harmonics": 2, "neighbours": 8, "slope_neighbours": 4}
    section = PARAMS.of_prior(name)
    section = section.model_copy(update={key: value for key, value in small.items() if key in type(section).model_fields})
    prior = find_prior(name).Prior(section, space(DIM))
    rows = list(prior.fit(latents(64, DIM), latents(32, DIM, seed=1), seed=0))
    assert rows
    assert all(all(map(torch.isfinite, map(torch.tensor, row.values()))) for row in rows)
    asked = latents(20, DIM, seed=2).conditions
    codes = prior.sample(asked, make_generator(0), SETTINGS)
    assert (codes.shape, codes.dtype) == ((20, DIM), torch.float32)
    assert codes.isfinite().all()
    assert torch.equal(codes, prior.sample(asked, make_generator(0), SETTINGS))
    if not prior.takes_steps:
        assert torch.equal(codes, prior.sample(asked, make_generator(0), replace(SETTINGS, steps=1, sampler="any")))
