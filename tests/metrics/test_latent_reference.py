"""Features of conditions, and codes beside them against held-out codes: honest, shuffled, wrong and wild ones."""

import math

import numpy as np
import pytest
import torch

from toycrystals.conditioning import Conditions
from toycrystals.dataset import VARIANTS
from toycrystals.lattice import LATTICES
from toycrystals.metrics.intervals import bootstrap_weights
from toycrystals.metrics.latent import CodeReference, condition_features, energy_scores
from toycrystals.rng import make_generator

TWO_SAMPLE = {"latent_mmd2", "latent_frechet", "latent_sliced_w2", "latent_auc_linear", "latent_auc_boosted"}


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
