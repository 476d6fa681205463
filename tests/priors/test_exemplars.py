"""How many exemplars: what a person says, or those under which held-out codes are most likely."""

import math

import pytest
import torch
from hyperparameters import mistakes, tree
from small_priors import SETTINGS, space

from toycrystals.core.rng import VALIDATION, make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.models.latents import Latents
from toycrystals.models.vae import Posterior
from toycrystals.priors import exemplars as module
from toycrystals.priors import local, mop
from toycrystals.runtime.config import parse_params

CANDIDATES = [8, 16, 32, 64, 128, 256, 512]
every_prior = pytest.mark.parametrize("prior", [mop, local], ids=["mop", "local"])


def codes(n, seed, bend=3.0):
    """Codes of one type on a curve over the angle, with a second coordinate that the condition leaves open."""
    generator = make_generator(seed)
    labels = torch.zeros(n, 4)
    labels[:, 1] = torch.rand(n, generator=generator)
    mu = torch.stack([torch.sin(bend * labels[:, 1]), torch.randn(n, generator=generator)], dim=1)
    return Latents(Posterior(mu, torch.full_like(mu, 2 * math.log(0.1))), Conditions(torch.ones(n, dtype=torch.long), labels))


def fitted(prior, neighbours, train, val, seed=0):
    more = {"slope_neighbours": 6} if prior is local else {}
    made = prior.Prior(prior.Config(neighbours=neighbours, **more), space(2))
    return made, list(made.fit(train, val, seed))


def nll(prior, neighbours, train, val, seed=0):
    """Mean of -log p of one code of each held-out posterior."""
    made, _ = fitted(prior, neighbours, train, val[:1])
    z = val.posterior.sample(make_generator(seed, VALIDATION))
    return -float(made.log_prob(z, val.conditions).mean())


@every_prior
def test_the_number_chosen_is_the_one_with_the_least_surprise(prior):
    """Few exemplars are too few for what the condition leaves open, and many come from too far along the curve."""
    train, val = codes(700, 1), codes(200, 2)
    made, rows = fitted(prior, "auto", train, val, seed=5)
    expected = {k: nll(prior, k, train, val, seed=5) for k in CANDIDATES}
    assert [row["neighbours"] for row in rows] == CANDIDATES
    assert [row["epoch"] for row in rows] == list(range(1, 8))
    assert [row["val_total"] for row in rows] == pytest.approx([*expected.values()])
    assert made.neighbours == min(expected, key=expected.get)
    assert CANDIDATES[0] < made.neighbours < CANDIDATES[-1]


def test_the_number_chosen_grows_as_the_condition_says_less():
    """On a line that does not move, the more the better."""
    chosen = [fitted(mop, "auto", codes(700, 1, bend), codes(200, 2, bend))[0].neighbours for bend in (6.0, 0.0)]
    assert chosen[0] < chosen[1] == 512


@every_prior
def test_a_number_is_obeyed_even_if_another_were_better(prior):
    train, val = codes(700, 1), codes(200, 2)
    made, rows = fitted(prior, 8, train, val)
    assert made.neighbours == 8
    assert rows == [{"epoch": 1, "neighbours": 8, "val_total": pytest.approx(nll(prior, 8, train, val))}]
    assert nll(prior, 64, train, val) < rows[0]["val_total"]


def test_the_choice_is_made_by_the_first_codes_of_the_split(monkeypatch):
    monkeypatch.setattr(module, "_CHOSEN_BY", 50)
    train, val = codes(700, 1), codes(200, 2)
    first, same = (fitted(mop, "auto", train, part)[1] for part in (val, val[:50]))
    assert first == same


@every_prior
@pytest.mark.parametrize("of", [space(2, "simple"), space(2, conditional=False)], ids=["no label", "no condition"])
def test_where_all_exemplars_serve_every_request_there_is_nothing_to_choose(prior, of):
    train, val = codes(700, 1), codes(200, 2)
    made = prior.Prior(prior.Config(neighbours="auto", **({"slope_neighbours": 6} if prior is local else {})), of)
    (row,) = made.fit(train, val, seed=0)
    z = val.posterior.sample(make_generator(0, VALIDATION))
    assert row["val_total"] == pytest.approx(math.log(700) - float(train.posterior.log_sum(z).mean()))


@every_prior
def test_what_was_chosen_is_restored(prior):
    train, val = codes(700, 1), codes(200, 2)
    made, _ = fitted(prior, "auto", train, val)
    again = prior.Prior.restore(made.config, made.space, made.tensors())
    assert again.config.neighbours == "auto"
    assert again.neighbours == made.neighbours
    drawn = [one.sample(val.conditions, make_generator(0), SETTINGS) for one in (made, again)]
    assert torch.equal(*drawn)
    assert torch.equal(made.log_prob(drawn[0], val.conditions), again.log_prob(drawn[0], val.conditions))


@pytest.mark.parametrize("name", ["mop.neighbours", "local.neighbours"])
@pytest.mark.parametrize("value", ["none", "8", 0, -1, True, False, 1.5, None, [8]], ids=str)
def test_what_is_no_number_of_exemplars_is_refused_in_one_line(name, value):
    expected = f"params.yaml: {name} = {value!r}: input should be a whole number of at least 1, or 'auto'"
    assert mistakes(**{name: value}) == [expected]


@pytest.mark.parametrize("name", ["mop", "local"])
@pytest.mark.parametrize("value", [1, 100, "auto"])
def test_numbers_up_to_the_data_are_allowed_and_auto_is_never_too_much(name, value):
    changes = {f"{name}.neighbours": value, "priors": [name], "data.n_train": 100}
    assert parse_params(tree(**changes)).of_prior(name).neighbours == value
    (line,) = mistakes(**changes | {f"{name}.neighbours": 101})
    assert line == f"params.yaml: {name}.neighbours = 101: must be at most data.n_train = 100"
