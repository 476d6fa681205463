"""Codes against closed forms: energy scores of normals, a linear Gaussian encoder's rate, and what the reference sees."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from toycrystals.conditioning import Conditions
from toycrystals.dataset import VARIANTS
from toycrystals.lattice import LATTICES
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.latent import (
    CodeReference,
    _log_normal,
    _log_sum,
    active_units,
    condition_features,
    energy_scores,
    split_kl,
)
from toycrystals.rng import make_generator
from toycrystals.vae import Posterior

TWO_SAMPLE = {"latent_mmd2", "latent_frechet", "latent_sliced_w2", "latent_auc_linear", "latent_auc_boosted"}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def conditions(n, seed=0):
    generator = make_generator(seed)
    labels = torch.rand((n, 4), generator=generator) * torch.tensor([8.0, math.pi / 3, 0.25, 0.6])
    labels[:, 0] += 6.0
    return Conditions(torch.randint(4, (n,), generator=generator), labels)


@pytest.mark.parametrize(("variant", "linear"), [("simple", 0), ("rot_only", 0), ("full", 3)])
@pytest.mark.parametrize("n_types", [2, 4])
def test_condition_features_are_the_type_the_angle_on_its_circle_and_other_labels_in_the_unit_range(variant, linear, n_types):
    asked = conditions(50)
    asked.type.remainder_(n_types)
    features = condition_features(asked, variant, n_types)
    assert features.shape == (50, n_types + 2 + linear)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[:, :n_types], np.eye(n_types)[asked.type])
    order = np.array([lattice.symmetry_order for lattice in LATTICES])[asked.type]
    phase = order * asked.labels[:, 1].numpy()
    np.testing.assert_allclose(features[:, n_types : n_types + 2], np.stack([np.sin(phase), np.cos(phase)], axis=1), atol=1e-5)
    assert np.abs(features).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_of_no_conditions_are_no_rows(variant):
    assert condition_features(conditions(0), variant, 4).shape[0] == 0


def brute_force_energy(draws, truth):
    result = []
    for z, target in zip(draws, truth, strict=True):
        pairs = [np.linalg.norm(a - b) for a, b in itertools.permutations(z, 2)]
        result.append(np.mean([np.linalg.norm(a - target) for a in z]) - 0.5 * np.mean(pairs))
    return result


@given(k=st.integers(2, 9), dim=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_energy_scores_are_those_of_all_pairs(k, dim, seed):
    rng = np.random.default_rng(seed)
    draws, truth = rng.normal(size=(4, k, dim)), rng.normal(size=(4, dim))
    np.testing.assert_allclose(energy_scores(draws, truth), brute_force_energy(draws, truth), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(energy_scores(draws[:, ::-1], truth), energy_scores(draws, truth), atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 16])
def test_energy_scores_have_no_bias_in_the_number_of_draws(k):
    """Of a normal against itself: E|Z - Z'| / 2 = sqrt(2) E(chi_3) / 2 = 2 / sqrt(pi)."""
    rng = np.random.default_rng(k)
    scores = energy_scores(rng.normal(size=(20_000, k, 3)), rng.normal(size=(20_000, 3)))
    assert abs(scores.mean() - 2 / math.sqrt(math.pi)) < 4 * scores.std() / math.sqrt(20_000)


def test_only_the_true_distribution_has_the_lowest_energy_score():
    rng = np.random.default_rng(0)
    truth, z = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 8, 3))
    right = energy_scores(z, truth)
    half = np.where(rng.random((4000, 8, 1)) < 0.5, 0.0, z)
    for wrong in (z + 0.4, 1.4 * z, 0.7 * z, 0.0 * z, half, z * [1.0, 1.0, 0.5], np.repeat(z[..., :1], 3, axis=2)):
        worse = energy_scores(wrong, truth) - right
        assert worse.mean() > 5 * worse.std() / math.sqrt(4000)


def test_energy_scores_see_codes_drawn_for_other_conditions():
    """Together they are distributed like the truth; one by one they are not."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(500, 1, 3))
    truth, draws = (centre + 0.3 * rng.normal(size=(500, k, 3)) for k in (1, 8))
    right, shuffled = (energy_scores(z, truth[:, 0]).mean() for z in (draws, draws[rng.permutation(500)]))
    assert right < 0.5
    assert shuffled > 3 * right


def test_units_whose_mean_varies_are_active():
    mu = normal(4000, 6) * torch.tensor([0.0, 0.05, 0.09, 0.11, 1.0, 3.0]) + 5.0
    assert active_units(Posterior(mu, torch.zeros_like(mu))) == 3
    # The variance inside of the posteriors does not count.
    assert active_units(Posterior(torch.zeros(50, 6), torch.full((50, 6), 3.0))) == 0


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_log_sums_are_those_of_torch(spread):
    """Log-variances of -20 to 3 in float64; codes near their posteriors, so that large squares cancel."""
    training = Posterior(spread * normal(40, 5), torch.linspace(-20.0, 3.0, 200).reshape(40, 5))
    z = training.sample(make_generator(1))[:30]
    parts = Independent(Normal(training.mu.double(), (0.5 * training.logvar.double()).exp()), 1)
    expected = MixtureSameFamily(Categorical(torch.ones(40, dtype=torch.float64)), parts).log_prob(z.double()) + math.log(40)
    torch.testing.assert_close(_log_sum(z, training), expected, rtol=1e-5, atol=1e-4)


def test_log_densities_are_those_of_torch():
    z, mu, logvar = normal(9, 5), normal(9, 5, seed=1), 4 * normal(9, 5, seed=2)
    expected = Normal(mu.double(), (0.5 * logvar.double()).exp()).log_prob(z.double()).sum(dim=1)
    torch.testing.assert_close(_log_normal(z, mu, logvar), expected)


def linear_encoder(n, spread, deviation, seed, dim=2):
    """x ~ N(0, S^2) and q(z | x) = N(x, s^2), so that q(z) = N(0, S^2 + s^2) in each of the dimensions."""
    mu = spread * normal(n, dim, seed=seed)
    return Posterior(mu, torch.full_like(mu, 2 * math.log(deviation)))


def one_type(n):
    return torch.zeros(n, dtype=torch.int64)


def test_normals_of_the_types_make_up_the_aggregate():
    """Two clusters far apart: one normal for each of them knows the aggregate, one for both does not."""
    training, held_out = linear_encoder(2000, 0.5, 0.5, seed=2), linear_encoder(500, 0.5, 0.5, seed=1)
    types = torch.arange(2000) % 2
    apart = Posterior(training.mu + 20.0 * types[:, None], training.logvar)
    half = Posterior(held_out.mu + 20.0 * (torch.arange(500) % 2)[:, None], held_out.logvar - 12.0)
    told, untold = (
        split_kl(half, Posterior(apart.mu, apart.logvar - 12.0), kinds, make_generator(0)) for kinds in (types, 0 * types)
    )
    assert told.mi_high < untold.mi_high - 1.0


@pytest.mark.parametrize(("spread", "deviation"), [(1.5, 0.5), (1.0, 1.0), (0.3, 0.95), (3.0, 0.5)])
def test_the_rate_is_split_as_in_closed_form(spread, deviation):
    dim, total = 2, spread**2 + deviation**2
    information = dim * 0.5 * math.log(1 + spread**2 / deviation**2)
    aggregate = dim * 0.5 * (total - 1 - math.log(total))
    held_out = linear_encoder(1500, spread, deviation, seed=1)
    split = split_kl(held_out, linear_encoder(4000, spread, deviation, seed=2), one_type(4000), make_generator(3))

    # What is left of chance is that of which held-out images there are: known exactly, for the same codes.
    z = held_out.sample(make_generator(3)).double()
    own = _log_normal(z, held_out.mu, held_out.logvar)
    exact = float((own - Normal(0.0, math.sqrt(total)).log_prob(z).sum(dim=1)).mean())
    assert exact == pytest.approx(information, abs=0.15)
    assert split.mi_low - 0.01 < exact < split.mi_high + 0.01
    assert split.mi_low < split.mi_high < split.mi_low + 0.1
    assert split.rate - split.mi_high - 0.3 < aggregate < split.rate - split.mi_low + 0.3
    assert split.rate == pytest.approx(information + aggregate, abs=0.3)


def test_the_rate_is_the_mean_divergence_from_the_prior():
    held_out = Posterior(normal(700, 3), normal(700, 3, seed=1))
    split = split_kl(held_out, linear_encoder(50, 1.0, 1.0, seed=2, dim=3), one_type(50), make_generator(0))
    expected = kl_divergence(Normal(held_out.mu, (0.5 * held_out.logvar).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert split.rate == pytest.approx(float(expected), rel=1e-5)


def test_bounds_are_those_of_a_double_loop():
    """More codes than one part of the work holds."""
    held_out, training = linear_encoder(600, 1.5, 0.7, seed=1, dim=3), linear_encoder(20, 1.5, 0.7, seed=2, dim=3)
    z = held_out.sample(make_generator(5)).double()
    low, high = [], []
    covariance = np.cov(training.mu.T.numpy(), ddof=0) + np.diag(training.logvar.exp().mean(dim=0).numpy())
    normals = multivariate_normal(training.mu.mean(dim=0).numpy(), covariance).pdf(z.numpy())
    for i in range(600):
        own = _log_normal(z[i], held_out.mu[i], held_out.logvar[i]).exp()
        others = sum(_log_normal(z[i], training.mu[m], training.logvar[m]).exp() for m in range(20))
        low.append(math.log(own / ((own + others) / 21)))
        high.append([math.log(own / r) for r in (others / 20, normals[i], (others / 20 + normals[i]) / 2)])
    split = split_kl(held_out, training, one_type(20), make_generator(5))
    assert split.mi_low == pytest.approx(np.mean(low), abs=1e-6)
    assert split.mi_high == pytest.approx(min(split.rate, *np.mean(high, axis=0)), abs=1e-4)


def test_the_lower_bound_saturates_where_posteriors_do_not_overlap():
    split = split_kl(
        linear_encoder(300, 1.0, 1e-4, seed=1), linear_encoder(400, 1.0, 1e-4, seed=2), one_type(400), make_generator(0)
    )
    truth = 2 * 0.5 * math.log(1 + 1e8)
    assert split.mi_low == pytest.approx(math.log(401), abs=0.01)
    assert split.mi_low < truth
    # The normal of the type still bounds from above, and here it is the aggregate.
    assert split.mi_high == pytest.approx(truth, abs=0.3)


def test_an_encoder_that_says_nothing_has_no_information():
    """Each posterior is the same, so that the bounds meet at 0 and all of the rate is the aggregate's."""
    same = Posterior(torch.full((200, 3), 0.7), torch.full((200, 3), -0.5))
    split = split_kl(same, Posterior(same.mu[:50], same.logvar[:50]), one_type(50), make_generator(0))
    assert split.mi_low == pytest.approx(0.0, abs=1e-6)
    assert split.mi_high == pytest.approx(0.0, abs=1e-6)
    assert split.rate == pytest.approx(3 * 0.5 * (0.49 + math.exp(-0.5) - 1 + 0.5), rel=1e-5)


N, DIM = 600, 4


def codes_of(features, seed):
    """Codes that say all about their condition, but for noise."""
    mixing = np.random.default_rng(9).normal(size=(features.shape[1], DIM))
    return (features @ mixing + 0.2 * np.random.default_rng(seed).normal(size=(len(features), DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def features():
    return condition_features(conditions(N), "rot_only", 4)


@pytest.fixture(scope="module")
def weights():
    return bootstrap_weights(conditions(N).type.numpy(), 20)


@pytest.fixture(scope="module")
def reference(features):
    return CodeReference(codes_of(features, seed=0), features)


@pytest.fixture(scope="module")
def honest(reference, features, weights):
    return reference.measure(codes_of(features, seed=1), weights)


def test_honest_codes_are_like_held_out_ones(honest):
    assert honest.keys() == TWO_SAMPLE
    assert abs(honest["latent_mmd2"].value) < 0.005
    assert honest["latent_frechet"].value < 0.1
    assert honest["latent_sliced_w2"].value < 0.1
    assert honest["latent_auc_linear"].value == pytest.approx(0.5, abs=0.08)
    assert honest["latent_auc_boosted"].value == pytest.approx(0.5, abs=0.08)
    for estimate in honest.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_codes_of_other_conditions_are_seen_only_beside_their_conditions(reference, features, weights, honest):
    """The same set of codes in another order."""
    shuffled = codes_of(features, seed=1)[np.random.default_rng(0).permutation(N)]
    seen = reference.measure(shuffled, weights)
    assert seen["latent_auc_boosted"].value > 0.9
    assert seen["latent_mmd2"].low > 5 * abs(honest["latent_mmd2"].high)
    alone = CodeReference(reference.codes, np.empty((N, 0), dtype=np.float32)).measure(shuffled, weights)
    assert abs(alone["latent_mmd2"].value) < 0.005
    assert alone["latent_auc_boosted"].value < 0.6


@pytest.mark.parametrize("wrong", [lambda z: z + 0.7, lambda z: 0.6 * z, np.abs], ids=["moved", "narrow", "folded"])
def test_wrong_codes_are_further_away_in_every_two_sample_measure(reference, features, weights, honest, wrong):
    found = reference.measure(wrong(codes_of(features, seed=1)), weights)
    for name in TWO_SAMPLE - {"latent_auc_linear"}:
        assert found[name].value > 1.5 * honest[name].value
        assert found[name].low > honest[name].high


def test_units_are_those_of_the_held_out_codes(reference, features):
    joint = reference.joint(reference.codes)
    assert joint.shape == (N, DIM + features.shape[1])
    assert joint.dtype == np.float32
    np.testing.assert_allclose(joint[:, :DIM].mean(axis=0), 0.0, atol=1e-5)
    assert joint[:, :DIM].var(axis=0).mean() == pytest.approx(1.0, rel=1e-5)
    assert joint[:, :DIM].var(axis=0).std() > 0.1
    np.testing.assert_array_equal(joint[:, DIM:], features)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_results_do_not_depend_on_the_unit_of_the_codes(reference, features, weights, factor):
    codes, rows = codes_of(features, seed=1) + 0.3, np.arange(0, N, 4)
    draws = np.stack([codes_of(features, seed=s)[rows] for s in range(5)], axis=1)
    scaled = CodeReference(np.float32(factor) * reference.codes, features)
    assert scaled.scale == pytest.approx(factor * reference.scale)
    plain, other = reference.measure(codes, weights), scaled.measure(np.float32(factor) * codes, weights)
    # Trees and their thresholds may fall on either side of a rounding error.
    tolerance = {"latent_auc_boosted": 0.03, "latent_auc_linear": 0.003}
    for name, estimate in plain.items():
        np.testing.assert_allclose(other[name][:3], estimate[:3], rtol=1e-3, atol=tolerance.get(name, 1e-5))
    scores = [ref.energy_score(rows, f * draws, weights) for ref, f in ((reference, 1), (scaled, np.float32(factor)))]
    np.testing.assert_allclose(scores[0][:3], scores[1][:3], rtol=1e-4)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e30, -3e38])
def test_wild_codes_are_brought_within_reach_and_are_far_away(reference, features, weights, honest, wild):
    codes = codes_of(features, seed=1)
    spoiled = np.where(np.arange(N)[:, None] % 2 == 0, np.float32(wild), codes)
    joint = reference.joint(spoiled)
    assert np.isfinite(joint).all()
    np.testing.assert_array_equal(np.abs(joint[::2, :DIM]), 20.0)
    np.testing.assert_array_equal(joint[1::2], reference.joint(codes)[1::2])
    for name, estimate in reference.measure(spoiled, weights).items():
        assert np.isfinite(estimate[:3]).all()
        assert estimate.low > honest[name].high


@pytest.mark.parametrize("wild", [np.nan, -np.inf, 1e30])
def test_wild_draws_have_a_high_energy_score(reference, features, weights, wild):
    rows = np.arange(0, N, 4)
    draws = np.stack([codes_of(features, seed=s)[rows] for s in range(4)], axis=1)
    spoiled = np.where(np.random.default_rng(0).random((len(rows), 4, 1)) < 0.2, np.float32(wild), draws)
    score = reference.energy_score(rows, spoiled, weights)
    assert score.low > 2 * reference.energy_score(rows, draws, weights).high
    assert np.isfinite(score.high)


def test_the_largest_codes_are_brought_within_reach_of_the_smallest(reference, features):
    """3e38 in units of 1e-3 is no float32."""
    small = CodeReference(np.float32(1e-3) * reference.codes, features)
    joint = small.joint(np.full((N, DIM), -3e38, dtype=np.float32))
    np.testing.assert_array_equal(joint[:, :DIM], -20.0)


def test_one_wild_dimension_spoils_no_other(reference, features):
    codes = codes_of(features, seed=1)
    codes[3, 2] = np.nan
    joint = reference.joint(codes)
    assert joint[3, 2] == 20.0
    others = np.delete(np.arange(joint.shape[1]), 2)
    np.testing.assert_array_equal(joint[3, others], reference.joint(codes_of(features, seed=1))[3, others])


def test_held_out_codes_without_any_spread_stay_finite(features, weights):
    constant = CodeReference(np.full((N, DIM), 3.0, dtype=np.float32), features)
    assert constant.scale == 1e-6
    assert np.isfinite(constant.joint(codes_of(features, seed=1))).all()
    assert not constant.joint(constant.codes)[:, :DIM].any()


def test_the_energy_score_is_the_mean_over_its_rows_in_units_of_the_scale(reference, features, weights):
    rows = np.arange(1, N, 4)
    draws = np.stack([codes_of(features, seed=s)[rows] for s in range(5)], axis=1)
    estimate = reference.energy_score(rows, draws, weights)
    each = energy_scores(draws.astype(np.float64), reference.codes[rows].astype(np.float64)) / reference.scale
    assert estimate.value == pytest.approx(each.mean(), rel=1e-4)
    counts = weights[:, rows].astype(np.float64)
    np.testing.assert_allclose(estimate.replicates, counts @ each / counts.sum(axis=1), rtol=1e-4)
    other = reference.energy_score(rows, np.roll(draws, 1, axis=0), weights)
    assert other.value > 2 * estimate.value
