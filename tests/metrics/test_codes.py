"""A prior's codes against held-out codes: honest codes pass, copies and wrong codes are seen."""

import numpy as np
import pytest
import torch

from toycrystals.conditioning import Conditions
from toycrystals.dataset import DatasetSpec, make_samples
from toycrystals.latents import Latents, imitated
from toycrystals.metrics.codes import CodeJudge
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.vae import Posterior

N, M, SPEC = 400, 4000, DatasetSpec("rot_only", 4, 16, seed=0)
DEVIATION = 0.02


def posteriors(samples, seed):
    """A made-up encoder of four numbers: two of them say type and angle, one says what the condition leaves open, one nothing."""
    rng = np.random.default_rng(seed)
    theta, hidden = samples.factors[:, 1], rng.normal(size=len(samples))
    mu = np.stack([samples.type + np.sin(6 * theta), np.cos(6 * theta), hidden, np.zeros(len(samples))], axis=1)
    logvar = np.tile(np.log([DEVIATION**2] * 3 + [1.0]), (len(samples), 1))
    conditions = Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))
    return Latents(Posterior(torch.from_numpy(mu).float(), torch.from_numpy(logvar).float()), conditions)


@pytest.fixture(scope="module")
def held_out():
    return make_samples(SPEC, "test", N)


@pytest.fixture(scope="module")
def training():
    return posteriors(make_samples(SPEC, "train", M), 1)


@pytest.fixture(scope="module")
def judge(held_out, training):
    return CodeJudge(SPEC, training, posteriors(held_out, 0), candidates=32, seed=0)


@pytest.fixture(scope="module")
def weights(held_out):
    return bootstrap_weights(held_out.type, 100)


@pytest.fixture(scope="module", params=[0.0, 0.1, 1.0])
def width(request):
    return request.param


def fresh(held_out, width, seed=5):
    return imitated(posteriors(held_out, seed), width, 0, seed)


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_imitated_codes_are_draws_of_posteriors_of_that_width(held_out, width):
    latents = posteriors(held_out, 0)
    assert torch.equal(imitated(latents, 0.0, 0), latents.posterior.mu)
    away = (imitated(latents, width, 0) - latents.posterior.mu) / torch.exp(0.5 * latents.posterior.logvar)
    assert away.std().item() == pytest.approx(width, rel=0.05)
    assert not torch.equal(imitated(latents, width, 0, 1), imitated(latents, width, 0, 2))
    assert torch.equal(imitated(latents, width, 0, 1), imitated(latents, width, 0, 1))


def test_honest_codes_pass(judge, held_out, width, weights):
    measures = judge(fresh(held_out, width), width, weights)
    assert abs(measures["latent_mmd2", "all"].value) < 0.01
    assert measures["latent_auc_boosted", "all"].value < 0.62
    # 5 % in expectation; the threshold comes from 100 held-out codes a type.
    assert 0.02 < measures["copy_code", "all"].value < 0.09


def test_copies_of_training_codes_are_flagged(judge, held_out, training, width, weights):
    """The mixture of posteriors: for each condition a code of one of the eight nearest training samples."""
    nearest = judge.near[:, :8]
    pick = nearest[torch.arange(N), torch.randint(8, (N,), generator=torch.Generator().manual_seed(0))]
    copied = imitated(training[pick], width, 0, 3)
    honest = judge(fresh(held_out, width), width, weights)["copy_code", "all"]
    flagged = judge(copied, width, weights)["copy_code", "all"]
    assert flagged.low > 0.1 > honest.value


def test_codes_of_other_conditions_are_seen(judge, held_out, width, weights):
    codes = fresh(held_out, width)[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    measures = judge(codes, width, weights)
    assert measures["latent_auc_boosted", "all"].low > 0.7
    assert measures["latent_mmd2", "all"].low > 0.0


def test_codes_without_conditions_are_compared_without_them(held_out, training, weights):
    judge = CodeJudge(SPEC, training, posteriors(held_out, 0), candidates=None, seed=0)
    codes = fresh(held_out, 0.0)[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    measures = judge(codes, 0.0, weights)
    assert measures["latent_auc_boosted", "all"].value < 0.62
    assert "copy_code" in {metric for metric, _ in measures}


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e30])
def test_wild_codes_give_bad_numbers_and_no_crash(judge, weights, wild):
    measures = judge(torch.full((N, 4), wild), 0.0, weights)
    assert measures["latent_auc_boosted", "all"].value > 0.99
    assert measures["copy_code", "all"].value == 0.0
    assert all(np.isfinite(estimate.value) for estimate in measures.values())


def test_energy_score_is_best_for_codes_as_spread_as_the_truth(judge, held_out, weights):
    rows = np.arange(0, N, 4)
    right = torch.stack([fresh(held_out, 0.0, seed)[rows] for seed in range(10, 18)], dim=1).numpy()
    narrow = np.repeat(right[:, :1], 8, axis=1)
    shifted = right + 1.0
    scores = [judge.energy_score(rows, draws, 0.0, weights)["latent_energy_score", "all"] for draws in (right, narrow, shifted)]
    assert scores[0].value < scores[1].value
    assert scores[0].value < scores[2].value


def test_encoder_measures_bracket_and_add_up(judge):
    values = {metric: estimate.value for (metric, _), estimate in judge.encoder_measures().items()}
    assert values["mutual_information_low"] <= values["mutual_information_high"]
    assert values["rate"] == pytest.approx(values["mutual_information_low"] + values["aggregate_kl_high"])
    assert values["rate"] == pytest.approx(values["mutual_information_high"] + values["aggregate_kl_low"])
    assert values["active_units"] == 3
