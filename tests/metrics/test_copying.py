"""Nearest training samples against brute force, and a small world in which copying shows and honesty does too."""

import math

import numpy as np
import pytest
import torch

from toycrystals.core.rng import make_generator
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.copying import CLOSE, close, nearest_distance, open_types, same_condition
from toycrystals.runtime.errors import UserError

PERIODS = np.array([math.pi / 2, math.pi, math.pi / 3, 2 * math.pi / 3])
# spacing, vacancy and jitter are not shown in `rot_only`; theta is in both.
WIDTHS = {"rot_only": {1: math.pi / 3}, "full": {0: 8.0, 1: math.pi / 3, 2: 0.25, 3: 0.6}}
every_variant = pytest.mark.parametrize("variant", WIDTHS)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def random_conditions(n, seed, n_types=4):
    """Labels at random, hidden ones too: they must not count."""
    generator = make_generator(seed)
    labels = torch.rand((n, 4), generator=generator) * torch.tensor([8.0, math.pi / 3, 0.25, 0.6])
    labels[:, 0] += 6.0
    return Conditions(torch.randint(n_types, (n,), generator=generator), labels)


def distances(asked, training, variant):
    """Distance [N, M] of every two conditions, infinite for other types; angles by every copy a period away."""
    a, b = asked.labels.double().numpy(), training.labels.double().numpy()
    squared = np.zeros((len(a), len(b)))
    for column, width in WIDTHS[variant].items():
        gap = a[:, None, column] - b[None, :, column]
        if column == 1:
            period = PERIODS[asked.type.numpy()][:, None]
            gap = np.min([np.abs(gap + k * period) for k in range(-3, 4)], axis=0)
        squared += (gap / width) ** 2
    return np.where(asked.type.numpy()[:, None] == training.type.numpy(), np.sqrt(squared), np.inf)


@every_variant
@pytest.mark.parametrize("candidates", [1, 7])
@pytest.mark.parametrize("n", [5, 1200])
def test_candidates_are_the_training_samples_of_the_type_with_the_nearest_labels(variant, candidates, n):
    asked, training = random_conditions(n, 0), random_conditions(300, 1)
    near = same_condition(asked, training, variant, candidates).numpy()
    table = distances(asked, training, variant)
    assert near.shape == (n, candidates)
    assert all(len(set(row)) == candidates for row in near.tolist())
    # Distances, for two neighbours may be equally near up to rounding.
    found = np.sort(np.take_along_axis(table, near, axis=1), axis=1)
    np.testing.assert_allclose(found, np.sort(table, axis=1)[:, :candidates], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("kind", range(4))
def test_angles_are_near_across_the_end_of_the_period(kind):
    """1 degree is 2 degrees from the period less 1, which is nearer than 5."""
    period = math.degrees(PERIODS[kind])
    training = Conditions(torch.full((2,), kind), torch.zeros(2, 4))
    training.labels[:, 1] = torch.deg2rad(torch.tensor([5.0, period - 1.0]))
    asked = Conditions(torch.tensor([kind]), torch.tensor([[10.0, math.radians(1.0), 0.0, 0.0]]))
    assert same_condition(asked, training, "rot_only", 2).tolist() == [[1, 0]]


@every_variant
def test_a_type_with_few_training_samples_repeats_its_last_one(variant):
    asked, training = random_conditions(40, 0), random_conditions(30, 1)
    training.type[:] = torch.tensor([0] * 3 + [1] + [2] * 20 + [3] * 6)
    near = same_condition(asked, training, variant, 10).numpy()
    table = distances(asked, training, variant)
    for row, ordered, kind in zip(near, np.argsort(table, axis=1), asked.type.tolist(), strict=True):
        count = min(10, [3, 1, 20, 6][kind])
        assert sorted(row[:count]) == sorted(ordered[:count])
        assert (row[count:] == ordered[count - 1]).all()


def test_a_type_without_training_samples_is_refused():
    asked, training = random_conditions(40, 0), random_conditions(30, 1, n_types=3)
    with pytest.raises(UserError, match=r"no training sample is of type honeycomb; raise data\.n_train") as info:
        same_condition(asked, training, "rot_only", 4)
    assert "\n" not in str(info.value)


def test_nothing_is_nearest_where_no_label_is_shown():
    assert not any(VARIANTS["simple"].visible)
    assert same_condition(random_conditions(4, 0), random_conditions(9, 1), "simple", 3) is None


def brute_force(x, training, near, deviation):
    result = []
    for i, point in enumerate(x.double().numpy()):
        rows = range(len(training)) if near is None else near[i].tolist()
        scale = np.ones(training.shape) if deviation is None else deviation.double().numpy()
        result.append(min(np.linalg.norm((point - training[j].double().numpy()) / scale[j]) for j in rows))
    return np.array(result)


@pytest.mark.parametrize("with_deviation", [False, True])
@pytest.mark.parametrize("chosen", [False, True])
def test_the_nearest_is_that_of_brute_force(chosen, with_deviation):
    x, training = normal(300, 5), normal(40, 5, seed=1)
    deviation = torch.rand((40, 5), generator=make_generator(2)) + 0.1 if with_deviation else None
    near = torch.randint(40, (300, 6), generator=make_generator(3)) if chosen else None
    found = nearest_distance(x, training, near, deviation)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, brute_force(x, training, near, deviation), rtol=1e-5)


@pytest.mark.parametrize("deviation", [None, 0.01, 30.0])
def test_all_as_candidates_are_all(deviation):
    """The two ways through the mathematics agree, also about codes far from zero."""
    x, training = normal(50, 12) + 7.0, normal(60, 12, seed=1) + 7.0
    scale = None if deviation is None else deviation * (1 + torch.rand((60, 12), generator=make_generator(2)))
    everything = torch.arange(60).expand(50, -1)
    found = nearest_distance(x, training, None, scale)
    np.testing.assert_allclose(found, nearest_distance(x, training, everything, scale), rtol=1e-5)


@pytest.mark.parametrize("near", [None, torch.arange(30).expand(30, -1)], ids=["all", "chosen"])
def test_copies_are_at_no_distance_even_in_units_of_the_sharpest_posterior(near):
    """The deviation is at least e^-10: squares of 1 / e^-10 lose eight digits."""
    training = normal(30, 12)
    found = nearest_distance(training.clone(), training, near, torch.full((30, 12), math.exp(-10)))
    assert found.max() < 0.01
    moved = nearest_distance(training + math.exp(-10), training, near, torch.full((30, 12), math.exp(-10)))
    np.testing.assert_allclose(moved, math.sqrt(12), rtol=0.01)


@pytest.mark.parametrize("near", [None, torch.arange(9).expand(6, -1)], ids=["all", "chosen"])
@pytest.mark.parametrize("deviation", [None, torch.full((9, 3), 0.5)], ids=["plain", "units"])
def test_codes_that_are_no_numbers_are_at_no_distance_and_spoil_no_other(near, deviation):
    x, training = normal(6, 3), normal(9, 3, seed=1)
    expected = nearest_distance(x, training, near, deviation)
    spoiled = x.clone()
    spoiled[0, 1], spoiled[2, 0], spoiled[3, 2], spoiled[5] = math.nan, math.inf, -math.inf, math.nan
    found = nearest_distance(spoiled, training, near, deviation)
    assert np.isnan(found).tolist() == [True, False, True, True, False, True]
    np.testing.assert_allclose(found[[1, 4]], expected[[1, 4]])
    assert torch.isnan(spoiled[0, 1])


def test_wild_codes_are_far_away():
    x = torch.full((4, 3), 1e30)
    for near in (None, torch.zeros((4, 2), dtype=torch.long)):
        assert (nearest_distance(x, normal(9, 3), near) > 1e30).all()


def test_no_codes_have_no_distances():
    for near in (None, torch.zeros((0, 4), dtype=torch.long)):
        assert nearest_distance(normal(0, 3), normal(9, 3), near).shape == (0,)


def types_of(n):
    return np.arange(n) % 4


def below(distances, held_out, types):
    return close(distances, held_out, types, "full")[0]


@pytest.mark.parametrize(("variant", "kinds"), [("simple", [1]), ("rot_only", [1]), ("full", [0, 1, 2, 3])])
def test_copies_can_be_told_of_types_whose_images_differ_where_their_labels_do_not(variant, kinds):
    assert np.flatnonzero(open_types(variant)).tolist() == kinds
    held_out = np.random.default_rng(0).exponential(size=400)
    found, testable = close(np.zeros(400), held_out, types_of(400), variant)
    assert np.unique(types_of(400)[testable]).tolist() == kinds
    assert found.all()
    assert close(np.zeros(400), held_out, None, variant)[1].all()


def test_where_held_out_samples_equal_training_samples_no_copy_can_be_told():
    held_out = np.where((types_of(400) == 1) & (np.arange(400) < 60), 0.0, 1.0)
    found, testable = close(np.zeros(400), held_out, types_of(400), "full")
    np.testing.assert_array_equal(testable, types_of(400) != 1)
    np.testing.assert_array_equal(found, testable)


def test_held_out_samples_are_close_as_often_as_announced():
    held_out = np.random.default_rng(0).exponential(size=4000) * (1 + 100 * (types_of(4000) == 2))
    found = below(held_out, held_out, types_of(4000))
    for kind in range(4):
        assert found[types_of(4000) == kind].mean() == pytest.approx(CLOSE, abs=1 / 1000)


def test_each_type_is_judged_by_its_own_held_out_samples():
    held_out = np.random.default_rng(0).uniform(1.0, 2.0, size=4000) * 10.0 ** types_of(4000)
    np.testing.assert_array_equal(below(np.full(4000, 50.0), held_out, types_of(4000)), types_of(4000) >= 2)


def test_without_types_all_are_judged_by_all():
    held_out = np.random.default_rng(0).exponential(size=400) * (1 + 100 * (types_of(400) == 2))
    one = np.zeros(400, dtype=np.int64)
    for found, expected in zip(*(close(held_out / 2, held_out, kinds, "full") for kinds in (None, one)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_copies_are_all_close():
    held_out = np.random.default_rng(0).uniform(1.0, 2.0, size=400)
    assert below(np.zeros(400), held_out, types_of(400)).all()
    assert not below(np.full(400, 3.0), held_out, types_of(400)).any()


def test_samples_as_near_as_the_nearest_held_out_ones_are_not_close():
    """Where many held-out samples are equally near, equally near samples prove nothing."""
    held_out = np.where(np.arange(400) % 40 < 20, 1.0, 2.0)
    assert not below(held_out, held_out, types_of(400)).any()
    assert not below(np.ones(400), held_out, types_of(400)).any()
    assert below(np.full(400, 0.999), held_out, types_of(400)).all()


def test_distances_that_are_no_numbers_are_not_close():
    held_out = np.random.default_rng(0).uniform(1.0, 2.0, size=400)
    found = below(np.where(np.arange(400) < 100, np.nan, 0.0), held_out, types_of(400))
    np.testing.assert_array_equal(found, np.arange(400) >= 100)


DEVIATION = 0.03


def world(n, seed):
    """Conditions, and codes on a circle by angle with two coordinates that the condition leaves open."""
    conditions = random_conditions(n, seed, n_types=2)
    return conditions, code_means(conditions, seed)


def code_means(conditions, seed):
    angle = 4 * conditions.labels[:, 1]
    shown = torch.stack([angle.cos(), angle.sin()], dim=1) + 3.0 * conditions.type[:, None]
    return torch.cat([shown, normal(len(conditions), 2, seed=100 + seed)], dim=1)


def share_close(mu, asked, known, codes, held_out):
    """The share of `codes` for the conditions `asked` that is close to the training posteriors' means `mu`."""
    near, deviation = same_condition(asked, known, "rot_only", 16), torch.full_like(mu, DEVIATION)
    of = [nearest_distance(z, mu, near, deviation) for z in (codes, held_out)]
    return below(*of, asked.type.numpy()).mean()


def test_a_mixture_of_a_few_posteriors_is_flagged_and_an_honest_sampler_is_not():
    (known, mu), (asked, held_out) = world(3000, 0), world(2000, 1)
    held_out = held_out + DEVIATION * normal(2000, 4, seed=2)
    honest = code_means(asked, 3) + DEVIATION * normal(2000, 4, seed=4)
    pick = torch.randint(4, (2000, 1), generator=make_generator(5))
    exemplar = same_condition(asked, known, "rot_only", 4).gather(1, pick).squeeze(1)
    mixture = mu[exemplar] + DEVIATION * normal(2000, 4, seed=6)
    # 4 standard deviations of a share of 5 % of 2,000, and of the quantile that it is compared with.
    assert share_close(mu, asked, known, honest, held_out) == pytest.approx(CLOSE, abs=0.028)
    assert share_close(mu, asked, known, mixture, held_out) > 0.9
    assert share_close(mu, asked, known, mu[exemplar], held_out) == 1.0


def test_half_a_mixture_is_flagged_by_half():
    (known, mu), (asked, held_out) = world(3000, 0), world(2000, 1)
    exemplar = same_condition(asked, known, "rot_only", 1).squeeze(1)
    honest, half = code_means(asked, 3), torch.arange(2000)[:, None] % 2 == 0
    assert share_close(mu, asked, known, torch.where(half, mu[exemplar], honest), held_out) == pytest.approx(0.525, abs=0.03)
