"""Features of conditions, and codes beside them in units of held-out codes; wild ones are brought within reach."""

import math

import numpy as np
import pytest
import torch

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.latent import CodeReference, condition_features


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
def reference(features):
    return CodeReference(codes_of(features, seed=0), features)


def test_units_are_those_of_the_held_out_codes(reference, features):
    joint = reference.joint(reference.codes)
    assert joint.shape == (N, DIM + features.shape[1])
    assert joint.dtype == np.float32
    np.testing.assert_allclose(joint[:, :DIM].mean(axis=0), 0.0, atol=1e-5)
    assert joint[:, :DIM].var(axis=0).mean() == pytest.approx(1.0, rel=1e-5)
    assert joint[:, :DIM].var(axis=0).std() > 0.1
    np.testing.assert_array_equal(joint[:, DIM:], features)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_units_of_the_codes_do_not_matter(reference, features, factor):
    codes, scaled = codes_of(features, seed=1) + np.float32(0.3), CodeReference(np.float32(factor) * reference.codes, features)
    assert scaled.scale == pytest.approx(factor * reference.scale)
    np.testing.assert_allclose(scaled.joint(np.float32(factor) * codes), reference.joint(codes), atol=1e-5)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e30, -3e38])
def test_wild_codes_are_brought_within_reach_and_spoil_no_other(reference, features, wild):
    codes = codes_of(features, seed=1)
    joint = reference.joint(np.where(np.arange(N)[:, None] % 2 == 0, np.float32(wild), codes))
    assert np.isfinite(joint).all()
    np.testing.assert_array_equal(np.abs(joint[::2, :DIM]), 20.0)
    np.testing.assert_array_equal(joint[1::2], reference.joint(codes)[1::2])


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


def test_held_out_codes_without_any_spread_stay_finite(features):
    constant = CodeReference(np.full((N, DIM), 3.0, dtype=np.float32), features)
    assert constant.scale == 1e-6
    assert np.isfinite(constant.joint(codes_of(features, seed=1))).all()
    assert not constant.joint(constant.codes)[:, :DIM].any()
