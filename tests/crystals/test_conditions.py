import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from toycrystals.crystals import conditions as module
from toycrystals.crystals.conditions import (
    ConditionEncoder,
    Conditions,
    keep_mask,
    label_offset,
    nearest_conditions,
    rotation_sweep,
)
from toycrystals.crystals.dataset import DatasetSpec, make_samples
from toycrystals.crystals.lattice import TYPES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.runtime.errors import UserError

ORDERS = (4, 2, 6, 3)
VISIBLE = {"simple": [0, 0, 0, 0], "rot_only": [0, 1, 0, 0], "full": [1, 1, 1, 1]}
types = st.integers(0, 3)
angles = st.floats(0.0, math.pi / 3, exclude_max=True)
labels = st.tuples(st.floats(6.0, 14.0), st.floats(-7.0, 7.0), st.floats(0.0, 0.25), st.floats(0.0, 0.6))


def conditions_at(lattice_type, *thetas):
    labels = torch.tensor([[0.0, theta, 0.0, 0.0] for theta in thetas])
    return Conditions(torch.full((len(thetas),), lattice_type), labels)


def real_conditions(variant, n=200):
    samples = make_samples(DatasetSpec(variant, 4, 16, 0), "train", n)
    return Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))


@settings(deadline=None, max_examples=100)
@given(types, angles, st.integers(1, 64))
def test_angle_features_are_sin_and_cos_of_multiples_of_the_symmetry_order(lattice_type, theta, harmonics):
    theta = float(np.float32(theta))
    encoder = ConditionEncoder("rot_only", 4, harmonics, conditional=True)
    phase = ORDERS[lattice_type] * theta * np.arange(1, harmonics + 1)
    found = encoder.angle_features(conditions_at(lattice_type, theta))[0]
    np.testing.assert_allclose(found, np.concatenate([np.sin(phase), np.cos(phase)]), atol=1e-6)


@settings(deadline=None, max_examples=100)
@given(types, angles, st.integers(-3, 3))
def test_angles_a_period_apart_have_the_same_features(lattice_type, theta, periods):
    encoder = ConditionEncoder("rot_only", 4, 32, conditional=True)
    one, other = encoder(conditions_at(lattice_type, theta, theta + periods * 2 * math.pi / ORDERS[lattice_type])).detach()
    # Labels are float32: k m = 192 times the rounding of an angle of up to 10 radians.
    torch.testing.assert_close(one, other, atol=5e-4, rtol=0.0)


@settings(deadline=None, max_examples=100)
@given(types, angles, st.floats(0.001, 0.999))
def test_other_angles_have_other_features(lattice_type, theta, share):
    encoder = ConditionEncoder("rot_only", 4, 32, conditional=True)
    one, other = encoder(conditions_at(lattice_type, theta, theta + share * 2 * math.pi / ORDERS[lattice_type])).detach()
    # The first harmonic alone is 2 sin(pi share) apart.
    assert (one - other).norm() > 2 * math.sin(math.pi * share) - 1e-3


@settings(deadline=None, max_examples=50)
@given(angles, types, types)
def test_types_differ_at_every_angle(theta, one, other):
    assume(one != other)
    encoder = ConditionEncoder("rot_only", 4, 2, conditional=True)
    a, b = (encoder(conditions_at(lattice_type, theta))[0, :4].detach() for lattice_type in (one, other))
    assert torch.equal(a, torch.eye(4)[one])
    assert torch.equal(b, torch.eye(4)[other])


@pytest.mark.parametrize(("variant", "linear"), [("simple", 0), ("rot_only", 0), ("full", 3)])
@pytest.mark.parametrize(("n_types", "harmonics"), [(4, 1), (2, 7)])
def test_vectors_are_as_wide_as_announced(variant, linear, n_types, harmonics):
    encoder = ConditionEncoder(variant, n_types, harmonics, conditional=True)
    vectors = encoder(Conditions(torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4)))
    assert vectors.shape == (3, encoder.features) == (3, n_types + 2 * harmonics + linear)
    assert vectors.dtype == torch.float32


def test_full_labels_are_scaled_to_the_unit_interval_around_zero():
    conditions = real_conditions("full", 1000)
    scaled = ConditionEncoder("full", 4, 1, conditional=True)(conditions).detach()[:, -3:]
    spacing, _, vacancy, jitter = conditions.labels.T
    expected = torch.stack([(spacing - 10) / 4, (vacancy - 0.125) / 0.125, (jitter - 0.3) / 0.3], dim=1)
    torch.testing.assert_close(scaled, expected, atol=1e-5, rtol=0.0)
    assert scaled.abs().max() <= 1.0 + 1e-6
    assert (scaled.amin(dim=0) < -0.95).all()
    assert (scaled.amax(dim=0) > 0.95).all()


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
def test_what_the_variant_hides_does_not_enter(variant):
    conditions = real_conditions(variant)
    encoder = ConditionEncoder(variant, 4, 3, conditional=True)
    hidden = 1.0 - torch.tensor(VISIBLE[variant])
    hidden[1] = 0.0
    changed = Conditions(conditions.type, conditions.labels + 0.3 * hidden)
    assert torch.equal(encoder(conditions), encoder(changed))


@pytest.fixture
def encoder():
    encoder = ConditionEncoder("full", 4, 3, conditional=True)
    torch.nn.init.normal_(encoder.null, generator=torch.Generator().manual_seed(0))
    return encoder


def test_dropped_conditions_become_the_null_vector_and_others_stay(encoder):
    conditions = real_conditions("full", 50)
    present = torch.arange(50) % 3 != 0
    vectors = encoder(conditions, present)
    assert (vectors[~present] == encoder.null).all()
    assert torch.equal(vectors[present], encoder(conditions)[present])
    assert (encoder(conditions) != encoder.null).any(dim=1).all()


def test_the_null_vector_learns_from_the_dropped_rows_alone(encoder):
    conditions = real_conditions("full", 50)
    encoder(conditions, torch.arange(50) % 3 != 0).sum().backward()
    assert (encoder.null.grad == 17.0).all()


def test_an_unconditional_encoder_gives_the_null_vector_to_all():
    encoder = ConditionEncoder("full", 4, 3, conditional=False)
    torch.nn.init.normal_(encoder.null)
    for present in (None, torch.ones(50, dtype=torch.bool)):
        vectors = encoder(real_conditions("full", 50), present)
        assert vectors.shape == (50, encoder.features)
        assert (vectors == encoder.null).all()
    vectors.sum().backward()
    assert (encoder.null.grad == 50.0).all()


def test_the_null_vector_is_all_that_is_stored(encoder):
    assert set(encoder.state_dict()) == {"null"}
    assert [name for name, _ in encoder.named_parameters()] == ["null"]


def test_nothing_is_dropped_without_dropout():
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert keep_mask(100, 0.0, generator, torch.device("cpu")) is None
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_the_share_asked_for_is_dropped_and_the_generator_decides_which(dropout):
    masks = [keep_mask(20_000, dropout, torch.Generator().manual_seed(seed), torch.device("cpu")) for seed in (0, 0, 1)]
    assert masks[0].dtype == torch.bool
    assert abs(masks[0].float().mean() - (1 - dropout)) < 5 * math.sqrt(dropout * (1 - dropout) / 20_000)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_conditions_are_picked_row_by_row():
    conditions = real_conditions("full", 20)
    assert len(conditions) == 20
    for index in (slice(3, 7), torch.tensor([5, 1, 1])):
        picked = conditions[index]
        assert torch.equal(picked.type, conditions.type[index])
        assert torch.equal(picked.labels, conditions.labels[index])


def test_conditions_move_with_all_their_tensors():
    moved = real_conditions("full", 3).to(torch.device("meta"))
    assert (moved.type.device.type, moved.labels.device.type) == ("meta", "meta")


def test_a_request_is_repeated():
    conditions = Conditions.repeat("full", 4, 2, (7.5, 0.25, 0.125, 0.5), 3)
    assert torch.equal(conditions.type, torch.tensor([2, 2, 2]))
    assert torch.equal(conditions.labels, torch.tensor([[7.5, 0.25, 0.125, 0.5]] * 3))
    assert (conditions.type.dtype, conditions.labels.dtype) == (torch.int64, torch.float32)
    conditions.labels[0, 0] = 1.0
    assert conditions.labels[1, 0] == 7.5


@pytest.mark.parametrize(("variant", "expected"), [("simple", [0.0] * 4), ("rot_only", [0.0, 0.25, 0.0, 0.0])])
def test_hidden_labels_of_a_request_are_ignored(variant, expected):
    conditions = Conditions.repeat(variant, 4, 0, (99.0, 0.25, -3.0, 99.0), 1)
    assert conditions.labels.tolist() == [expected]


@settings(deadline=None, max_examples=100)
@given(types, st.floats(0.01, math.pi / 3 - 0.01), st.integers(-20, 20))
def test_an_angle_is_brought_into_range_by_the_types_symmetry(lattice_type, theta, periods):
    turned = theta + periods * 2 * math.pi / ORDERS[lattice_type]
    labels = Conditions.repeat("rot_only", 4, lattice_type, (10.0, turned, 0.0, 0.0), 1).labels
    assert labels[0, 1].item() == pytest.approx(theta, abs=1e-5)


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
def test_every_whole_number_of_periods_is_no_rotation_at_all(lattice_type):
    encoder = ConditionEncoder("rot_only", 4, 4, conditional=True)
    period = 360 // ORDERS[lattice_type]
    unturned = encoder(conditions_at(lattice_type, 0.0)).detach()
    for degrees in (*range(-3600, 3601, period), -1e-12):
        request = Conditions.repeat("rot_only", 4, lattice_type, (10.0, float(np.deg2rad(degrees)), 0.0, 0.0), 1)
        torch.testing.assert_close(encoder(request).detach(), unturned, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(
    ("variant", "lattice_type", "labels", "words"),
    [
        ("rot_only", 0, (10.0, np.deg2rad(75), 0.0, 0.0), ["theta = 75 degrees", "0 to 60 degrees", "square"]),
        ("rot_only", 1, (10.0, np.deg2rad(-30), 0.0, 0.0), ["theta = 150 degrees", "0 to 60 degrees", "rectangular"]),
        ("rot_only", 3, (10.0, np.deg2rad(100), 0.0, 0.0), ["theta = 100 degrees", "0 to 60 degrees", "honeycomb"]),
        ("rot_only", 2, (10.0, math.nan, 0.0, 0.0), ["theta = nan"]),
        ("rot_only", 2, (10.0, math.inf, 0.0, 0.0), ["theta"]),
        ("full", 2, (5.0, 0.0, 0.0, 0.0), ["spacing = 5:", "6 to 14", "triangular"]),
        ("full", 2, (14.5, 0.0, 0.0, 0.0), ["spacing = 14.5:", "6 to 14"]),
        ("full", 2, (math.nan, 0.0, 0.0, 0.0), ["spacing = nan"]),
        ("full", 2, (10.0, 0.0, 0.3, 0.0), ["vacancy = 0.3:", "0 to 0.25"]),
        ("full", 2, (10.0, 0.0, -0.1, 0.0), ["vacancy = -0.1:", "0 to 0.25"]),
        ("full", 2, (10.0, 0.0, 0.0, 0.7), ["jitter = 0.7:", "0 to 0.6"]),
    ],
)
def test_a_request_outside_what_models_have_seen_is_refused(variant, lattice_type, labels, words):
    with pytest.raises(UserError) as info:
        Conditions.repeat(variant, 4, lattice_type, labels, 1)
    assert "\n" not in str(info.value)
    assert all(word in str(info.value) for word in words)


@pytest.mark.parametrize("labels", [(6.0, 0.0, 0.0, 0.0), (14.0, math.pi / 3, 0.25, 0.6)])
def test_the_ends_of_the_ranges_can_be_asked_for(labels):
    assert len(Conditions.repeat("full", 4, 0, labels, 2)) == 2


@pytest.mark.parametrize(("n_types", "lattice_type"), [(1, 1), (2, 3), (3, 3)])
def test_a_type_that_the_model_does_not_know_is_refused_by_name(n_types, lattice_type):
    with pytest.raises(UserError) as info:
        Conditions.repeat("rot_only", n_types, lattice_type, (10.0, 0.0, 0.0, 0.0), 1)
    assert str(info.value) == f"type {TYPES[lattice_type]}: the model knows {', '.join(TYPES[:n_types])}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("n_types", "n"), [(4, 9), (2, 3)])
def test_a_sweep_turns_every_type_through_the_whole_range(variant, n_types, n):
    sweep = rotation_sweep(variant, n_types, n)
    end = 0.0 if variant == "simple" else math.pi / 3
    thetas = torch.tensor([end * i / (n - 1) for i in range(n)])
    assert sweep.type.tolist() == [k for k in range(n_types) for _ in range(n)]
    torch.testing.assert_close(sweep.labels[:, 1], thetas.repeat(n_types), atol=1e-6, rtol=0.0)
    middle = torch.tensor([10.0, 0.0, 0.125, 0.3]) * torch.tensor(VISIBLE[variant])
    torch.testing.assert_close(sweep.labels[:, [0, 2, 3]], middle[[0, 2, 3]].expand(n_types * n, 3), atol=1e-6, rtol=0.0)
    assert (sweep.type.dtype, sweep.labels.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
@settings(deadline=None)
@given(a=labels, b=labels, turns=st.integers(-3, 3))
def test_offset_turns_with_its_sides_and_is_blind_to_whole_periods(lattice_type, a, b, turns):
    a, b = (torch.tensor([row], dtype=torch.float64) for row in (a, b))
    turned = b + torch.tensor([0.0, turns * 2 * math.pi / ORDERS[lattice_type], 0.0, 0.0])
    offset = label_offset(a, b, lattice_type, "full")
    # Half a period is as far on the one side as on the other.
    assume(offset[0, 1].abs() < math.pi / ORDERS[lattice_type] / (math.pi / 3) - 1e-6)
    torch.testing.assert_close(label_offset(b, a, lattice_type, "full"), -offset, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(label_offset(a, turned, lattice_type, "full"), offset, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(label_offset(b, turned, lattice_type, "full"), torch.zeros_like(offset), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "lattice_type", "difference", "expected"),
    [
        ("full", 0, (8.0, 0.0, 0.0, 0.0), [1.0, 0.0, 0.0, 0.0]),
        ("full", 0, (-4.0, 0.0, 0.25, 0.0), [-0.5, 0.0, 1.0, 0.0]),
        ("full", 0, (0.0, 0.0, 0.0, -0.3), [0.0, 0.0, 0.0, -0.5]),
        ("full", 0, (0.0, math.radians(44), 0.0, 0.0), [0.0, 44 / 60, 0.0, 0.0]),
        ("full", 0, (0.0, math.radians(80), 0.0, 0.0), [0.0, -10 / 60, 0.0, 0.0]),
        ("rot_only", 1, (8.0, math.radians(30), 0.25, 0.6), [0.5]),
        ("rot_only", 2, (0.0, math.radians(59), 0.0, 0.0), [-1 / 60]),
        ("rot_only", 3, (0.0, math.radians(59), 0.0, 0.0), [59 / 60]),
        ("simple", 0, (8.0, 1.0, 0.25, 0.6), []),
    ],
)
def test_offset_is_in_units_of_the_visible_ranges(variant, lattice_type, difference, expected):
    origin = torch.tensor([[6.0, 0.2, 0.0, 0.0]])
    found = label_offset(origin + torch.tensor([difference]), origin, lattice_type, variant)
    assert found.shape == (1, len(expected))
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_offsets_pair_rows_as_shapes_broadcast(variant):
    a, b = real_conditions(variant, 8).labels.split([3, 5])
    table = label_offset(a[:, None], b, 0, variant)
    assert table.shape == (3, 5, sum(VISIBLE[variant]))
    for i in range(3):
        for j in range(5):
            torch.testing.assert_close(table[i, j], label_offset(a[i], b[j], 0, variant))


def slow_distance(one, other, lattice_type, variant):
    """Of two rows of labels: each difference in units of its range, that of the angle to the nearest of many turns."""
    total = 0.0
    for i, (width, shown) in enumerate(zip([8.0, math.pi / 3, 0.25, 0.6], VISIBLE[variant], strict=True)):
        turns = [k * 2 * math.pi / ORDERS[lattice_type] for k in range(-4, 5)] if i == 1 else [0.0]
        total += shown * min(abs(one[i] - other[i] + turn) / width for turn in turns) ** 2
    return math.sqrt(total)


@pytest.mark.parametrize("variant", ["rot_only", "full"])
@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.parametrize("chunk", [8, 512])
def test_nearest_conditions_are_those_of_a_slow_search(variant, k, chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    asked, known = real_conditions(variant, 40), real_conditions(variant, 200)[40:]
    found = {}
    for rows, candidates in nearest_conditions(asked, known, variant, k):
        found |= dict(zip(rows.tolist(), candidates.tolist(), strict=True))
    assert sorted(found) == list(range(40))
    for row, candidates in found.items():
        lattice_type = int(asked.type[row])
        pool = [i for i in range(160) if known.type[i] == lattice_type]
        distances = {i: slow_distance(asked.labels[row].tolist(), known.labels[i].tolist(), lattice_type, variant) for i in pool}
        assert len(set(candidates)) == len(candidates) == min(k, len(pool))
        # Sorted, and none of those left out is nearer.
        assert [distances[i] for i in candidates] == pytest.approx(sorted(distances.values())[:k], abs=1e-5)


def test_where_no_label_is_visible_all_of_the_type_are_as_near():
    asked, known = real_conditions("simple", 20), real_conditions("simple", 100)
    seen = []
    for rows, candidates in nearest_conditions(asked, known, "simple", 3):
        seen += rows.tolist()
        for lattice_type in set(asked.type[rows].tolist()):
            assert torch.equal(candidates, (known.type == lattice_type).nonzero().squeeze(1))
    assert sorted(seen) == list(range(20))


def test_a_type_without_a_known_row_is_refused():
    asked, known = conditions_at(2, 0.1), conditions_at(1, 0.1, 0.2)
    with pytest.raises(UserError, match=r"^no training sample is of type triangular; raise data\.n_train$"):
        nearest_conditions(asked, known, "rot_only", 1)
