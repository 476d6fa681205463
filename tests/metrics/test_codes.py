"""A prior's codes against held-out codes: honest codes pass, copies and wrong codes are seen."""

import numpy as np
import pytest
import torch
from world import DEVIATION, posteriors

from toycrystals.core.rng import make_generator
from toycrystals.crystals.dataset import DatasetSpec, make_samples
from toycrystals.metrics.base import ALL, MEASURES, ON_CODES
from toycrystals.metrics.classifiers import boosted_auc
from toycrystals.metrics.codes import CodeJudge
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.latent import condition_features
from toycrystals.models.latents import held_out_codes

N, M, SPEC = 400, 4000, DatasetSpec("rot_only", 4, 16, seed=0)
LATENT = {"latent_mmd2", "latent_auc_boosted", "latent_auc_aggregate"}


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
def blind(held_out, training):
    """Without conditions."""
    return CodeJudge(SPEC, training, posteriors(held_out, 0), candidates=None, seed=0)


@pytest.fixture(scope="module")
def weights(held_out):
    return bootstrap_weights(held_out.type, 100)


@pytest.fixture(scope="module")
def fresh(held_out):
    return held_out_codes(posteriors(held_out, 5), 0, 5)


@pytest.fixture(scope="module")
def honest(judge, fresh, weights):
    return judge(fresh, weights)


def test_honest_codes_pass(honest):
    assert {metric for metric, _ in honest} == LATENT | {"copy_code"} <= set(MEASURES)
    assert abs(honest["latent_mmd2", ALL].value) < 0.01
    assert honest["latent_auc_boosted", ALL].value < 0.62
    assert honest["latent_auc_aggregate", ALL].value < 0.62
    # 5 % in expectation; the threshold comes from 100 held-out codes.
    assert 0.0 < honest["copy_code", ALL].value < 0.13
    for key, estimate in honest.items():
        assert np.isnan(estimate.low) == (key[0] == "latent_mmd2")
        assert not estimate.value < estimate.low, key
        assert not estimate.value > estimate.high, key


def test_what_is_judged_are_codes_beside_residuals_and_features(judge, fresh, held_out, weights, monkeypatch):
    seen = []
    monkeypatch.setattr("toycrystals.metrics.codes.measured", lambda functions, judged: seen.append((functions, judged)))
    judge(fresh, weights)
    ((functions, judged),) = seen
    assert functions is ON_CODES
    np.testing.assert_array_equal(judged.codes, fresh)
    np.testing.assert_array_equal(judged.real_codes, held_out_codes(posteriors(held_out, 0), 0))
    features = condition_features(posteriors(held_out, 0).conditions, "rot_only", 4)
    for codes, joint in ((judged.codes, judged.joint), (judged.real_codes, judged.real_joint)):
        np.testing.assert_array_equal(joint[:, 4:], features)
        # What the condition says is taken out, and what it leaves open is in units of its spread.
        away = codes - posteriors(held_out, 0).posterior.mu.numpy() * [1, 1, 0, 0]
        for column, unit in enumerate([DEVIATION, DEVIATION, 1.0, 1.0]):
            assert np.corrcoef(joint[:, column], away[:, column])[0, 1] > 0.9
            assert joint[:, column].std() == pytest.approx(away[:, column].std() / unit, rel=0.15)
    np.testing.assert_array_equal(judged.types, held_out.type)


def test_copies_of_training_codes_are_flagged(judge, honest, training, weights):
    """The mixture of posteriors: for each condition a code of one of the eight nearest training samples."""
    nearest = judge.near[:, :8]
    pick = nearest[torch.arange(N), torch.randint(8, (N,), generator=make_generator(0))]
    flagged = judge(held_out_codes(training[pick], 0, 3), weights)
    assert flagged["copy_code", ALL].low > 0.15 > honest["copy_code", ALL].value
    # What copies are known by is nothing else: they have the right distribution.
    assert abs(flagged["latent_mmd2", ALL].value) < 0.01


def test_copies_are_told_only_of_types_that_leave_something_open(honest, blind, fresh, weights):
    """Here the rectangular crystals, whose aspect no label shows; without conditions, of all together."""
    assert [kind for metric, kind in honest if metric == "copy_code"] == [ALL, "rectangular"]
    assert honest["copy_code", ALL].value == honest["copy_code", "rectangular"].value
    assert [kind for metric, kind in blind(fresh, weights) if metric == "copy_code"] == [ALL]


def test_codes_of_other_conditions_are_seen_only_beside_conditions(judge, blind, fresh, weights):
    codes = fresh[torch.randperm(N, generator=make_generator(0))]
    measures = judge(codes, weights)
    assert measures["latent_auc_boosted", ALL].low > 0.9
    assert measures["latent_auc_aggregate", ALL].value < 0.62
    assert measures["latent_mmd2", ALL].value > 0.05
    measures = blind(codes, weights)
    assert measures["latent_auc_boosted", ALL].value < 0.62
    assert abs(measures["latent_mmd2", ALL].value) < 0.01


@pytest.mark.parametrize("change", [lambda z: z + 0.5, lambda z: 0.6 * z, torch.abs], ids=["moved", "narrow", "folded"])
@pytest.mark.parametrize("who", ["judge", "blind"])
def test_wrong_codes_are_further_away_in_all_two_sample_measures(request, who, fresh, weights, change):
    by = request.getfixturevalue(who)
    honest, measures = by(fresh, weights), by(change(fresh), weights)
    assert measures["latent_mmd2", ALL].value > 5 * abs(honest["latent_mmd2", ALL].value)
    for name in {metric for metric, _ in measures} & (LATENT - {"latent_mmd2"}):
        assert measures[name, ALL].low > honest[name, ALL].high


def test_a_shift_that_is_small_beside_the_spread_over_conditions_is_seen(held_out, judge, weights):
    """A third of a posterior's deviation, everywhere: a fiftieth of what the means themselves move by.

    In the units of their condition codes show it; the same trees miss it on the codes as they are, beside the same features.
    """
    shift = DEVIATION / 3 * torch.tensor([1.0, 1.0, 0.0, 0.0])
    many = make_samples(SPEC, "test", 3000)
    latents, told = posteriors(many, 0), posteriors(make_samples(SPEC, "train", 20_000), 1)
    by, no_weights = CodeJudge(SPEC, told, latents, candidates=32, seed=0), bootstrap_weights(many.type, 0)
    shifted = held_out_codes(posteriors(many, 5), 0, 5) + shift
    features = condition_features(latents.conditions, "rot_only", 4)
    raw = [np.concatenate([codes.numpy(), features], axis=1) for codes in (held_out_codes(latents, 0), shifted)]
    assert by(shifted, no_weights)["latent_auc_boosted", ALL].value > 0.58
    assert boosted_auc(*raw, no_weights, trees=50).value < 0.53


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e30])
def test_wild_codes_give_bad_numbers_and_no_crash(judge, weights, wild):
    measures = judge(torch.full((N, 4), wild), weights)
    assert measures["latent_auc_boosted", ALL].value > 0.99
    assert measures["copy_code", ALL].value == 0.0
    assert all(np.isfinite(estimate.value) for estimate in measures.values())


def test_another_seed_is_another_draw_of_held_out_codes(held_out, training, judge, fresh, weights):
    again, other = (CodeJudge(SPEC, training, posteriors(held_out, 0), candidates=32, seed=seed) for seed in (0, 1))
    first = judge(fresh, weights)["latent_mmd2", ALL].value
    assert again(fresh, weights)["latent_mmd2", ALL].value == first
    assert other(fresh, weights)["latent_mmd2", ALL].value != first
