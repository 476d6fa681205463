"""Each control has the fault that its name says, and no other."""

import hashlib
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from toycrystals.crystals.dataset import DatasetSpec, exact_images, make_samples, redraw
from toycrystals.crystals.heldout import stratified_rows
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics import controls
from toycrystals.metrics.controls import COLLAPSED, angles_missing, blurred, collapsed, make_controls, type_missing
from toycrystals.results.catalogue import CONTROL_LABELS
from toycrystals.runtime.errors import UserError

SIZE, N = 32, 120
NAMES = ["shuffled", "rotated", "blurred", "shifted", "collapsed", "copies", "type_missing", "angles_missing"]
LOW, HIGH = math.radians(20.0), math.radians(30.0)


def held_out_samples(spec, n=N):
    test = make_samples(spec, "test", 4 * n)
    return test[stratified_rows(test.type, test.factors[:, 1], n, spec.n_types, "test")]


def make(variant, n_types=4, n=N):
    spec = DatasetSpec(variant, n_types, SIZE, 0)
    held_out, training = held_out_samples(spec, n), make_samples(spec, "train", 300)
    return spec, held_out, training, make_controls(spec, held_out, training)


def fresh(spec, samples):
    return redraw(spec, samples.type, samples.factors).images


def digests(images):
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def exact(types, theta):
    """Perfect crystals of types without an aspect, uint8 [N, 1, H, W] up to rounding."""
    rows = [exact_images(int(k), np.array([10.0]), np.array([t]), np.ones(1), SIZE) for k, t in zip(types, theta, strict=True)]
    return np.rint(255 * np.stack(rows)).astype(int)


@pytest.fixture(scope="module")
def rot_only():
    return make("rot_only")


@pytest.fixture(scope="module")
def full():
    return make("full")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n_types", [1, 2, 3, 4])
def test_every_control_answers_every_condition_with_an_image(variant, n_types):
    made = make(variant, n_types, n=40)[-1]
    impossible = {"type_missing"} if n_types == 1 else set()
    impossible |= {"rotated", "angles_missing"} if variant == "simple" else set()
    assert list(made) == [name for name in NAMES if name not in impossible]
    for images in made.values():
        assert images.shape == (40, 1, SIZE, SIZE)
        assert images.dtype == np.uint8
        assert (images.reshape(40, -1).max(axis=1) > 100).all()


def test_every_control_has_a_name_for_people():
    assert list(CONTROL_LABELS) == NAMES


@pytest.mark.parametrize("variant", ["rot_only", "full"])
def test_every_control_differs_from_real_images_and_from_the_others(variant, request):
    spec, held_out, _, made = request.getfixturevalue(variant)
    kinds = [fresh(spec, held_out), *made.values()]
    assert len({images.tobytes() for images in kinds}) == len(NAMES) + 1


def test_controls_are_the_same_every_time(full):
    spec, held_out, training, made = full
    again = make_controls(spec, held_out, training)
    for name, images in made.items():
        np.testing.assert_array_equal(again[name], images)


def test_controls_leave_the_held_out_samples_as_they_are(full):
    spec, held_out, _, _ = full
    untouched = held_out_samples(spec)
    np.testing.assert_array_equal(held_out.images, untouched.images)
    np.testing.assert_array_equal(held_out.factors, untouched.factors)


@pytest.mark.parametrize("variant", ["rot_only", "full"])
def test_shuffled_images_are_real_ones_in_another_order(variant, request):
    spec, held_out, _, made = request.getfixturevalue(variant)
    real = fresh(spec, held_out)
    assert sorted(digests(made["shuffled"])) == sorted(digests(real))
    assert np.mean([a == b for a, b in zip(digests(made["shuffled"]), digests(real), strict=True)]) < 0.1


def test_rotated_images_are_a_quarter_turn_on_about_the_central_site(rot_only):
    """Pixels are turned exactly, but for the row and the column that the centre, half a pixel off, turns out of the image."""
    spec, held_out, _, made = rot_only
    real, turned = fresh(spec, held_out)[:, 0].astype(int), made["rotated"][:, 0].astype(int)
    expected = np.roll(np.rot90(real, -1, axes=(1, 2)), 1, axis=2)
    np.testing.assert_allclose(turned[:, :, 1:], expected[:, :, 1:], atol=1)
    squares = held_out.type == 0
    np.testing.assert_allclose(turned[squares], real[squares], atol=1)
    # A rectangle whose sides are nearly equal is nearly a square.
    assert (np.abs(turned[~squares] - real[~squares]).max(axis=(1, 2)) > 20).mean() > 0.95


def test_shifted_images_are_moved_by_one_pixel(full):
    spec, held_out, _, made = full
    real, moved = fresh(spec, held_out), made["shifted"]
    np.testing.assert_array_equal(moved[..., 1:], real[..., :-1])
    np.testing.assert_array_equal(moved[..., 0], real[..., 0])


def test_blurred_images_are_smooth_and_keep_the_full_range(full):
    spec, held_out, _, made = full
    for image, real in zip(made["blurred"][:, 0], fresh(spec, held_out)[:, 0], strict=True):
        smooth = gaussian_filter(real.astype(np.float64), 1.0)
        assert np.abs(image - 255 * smooth / smooth.max()).max() <= 0.5 + 1e-3
        assert image.max() == 255


def test_images_are_blurred_one_by_one():
    images = np.zeros((3, 1, 16, 16), dtype=np.uint8)
    images[1, 0, 8, 8] = 200
    found = blurred(images)
    assert not found[[0, 2]].any()
    assert found[1].max() == 255
    assert found[1, 0, 8, 9] == round(255 * math.exp(-0.5))


@pytest.mark.parametrize("n_types", [1, 3, 4])
def test_collapsed_images_are_few_and_of_the_right_type(n_types):
    spec = DatasetSpec("full", n_types, SIZE, 0)
    held_out = held_out_samples(spec, 200)
    real = fresh(spec, held_out)
    found, given = digests(collapsed(real, held_out.type)), digests(real)
    assert len(set(given)) == 200
    for kind in range(n_types):
        rows = np.flatnonzero(held_out.type == kind)
        few = {found[row] for row in rows}
        assert few <= {given[row] for row in rows}
        assert len(few) == COLLAPSED // n_types
        # All of them about equally often.
        counts = [sum(found[row] == one for row in rows) for one in few]
        assert max(counts) - min(counts) <= 1
    assert len(set(found)) <= COLLAPSED


@pytest.mark.parametrize("variant", ["rot_only", "full"])
def test_copies_are_training_images_of_the_type(variant, request):
    _, held_out, training, made = request.getfixturevalue(variant)
    kinds = {}
    for digest, kind in zip(digests(training.images), training.type.tolist(), strict=True):
        kinds.setdefault(digest, set()).add(kind)
    for digest, kind in zip(digests(made["copies"]), held_out.type.tolist(), strict=True):
        assert kind in kinds[digest]


def test_copies_have_the_nearest_angle(rot_only):
    _, held_out, training, made = rot_only
    for image, kind, theta in zip(made["copies"], held_out.type, held_out.factors[:, 1], strict=True):
        period, pool = LATTICES[kind].period, np.flatnonzero(training.type == kind)
        away = np.abs(training.factors[pool, 1][:, None] - theta + period * np.arange(-2, 3)).min(axis=1)
        np.testing.assert_array_equal(image, training.images[pool[away.argmin()]])


def test_copies_without_labels_go_through_the_training_images_of_the_type():
    _, held_out, training, made = make("simple", 2)
    for kind in (0, 1):
        rows, pool = (np.flatnonzero(samples.type == kind) for samples in (held_out, training))
        assert len(pool) > len(rows)
        np.testing.assert_array_equal(made["copies"][rows], training.images[pool[: len(rows)]])


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
def test_copies_of_a_type_without_training_images_are_refused(variant):
    spec = DatasetSpec(variant, 2, SIZE, 0)
    held_out, training = held_out_samples(spec, 40), make_samples(spec, "train", 50)
    with pytest.raises(UserError, match=r"no training sample is of type rectangular; raise data\.n_train"):
        make_controls(spec, held_out, training[np.flatnonzero(training.type == 0)])


@pytest.fixture
def requests(monkeypatch):
    """The types and factors that images were asked for."""
    calls = []
    monkeypatch.setattr(
        controls, "redraw", lambda spec, types, factors: calls.append((types, factors)) or redraw(spec, *calls[-1])
    )
    return calls


@pytest.mark.parametrize("n_types", [2, 3, 4])
def test_the_last_type_is_missing_and_the_first_one_stands_in(requests, n_types):
    spec = DatasetSpec("full", n_types, SIZE, 0)
    held_out = held_out_samples(spec)
    type_missing(spec, held_out)
    [(types, factors)] = requests
    last = held_out.type == n_types - 1
    assert set(types) == set(range(n_types - 1))
    np.testing.assert_array_equal(types[~last], held_out.type[~last])
    assert (types[last] == 0).all()
    np.testing.assert_array_equal(factors, held_out.factors)


def test_images_of_the_missing_type_show_the_first_at_the_same_angle(rot_only):
    _, held_out, _, made = rot_only
    shown = np.where(held_out.type == 3, 0, held_out.type)
    plain = np.flatnonzero(shown != 1)
    expected = exact(shown[plain], held_out.factors[plain, 1].astype(np.float64))
    assert (held_out.type[plain] == 3).sum() == N // 4
    assert np.abs(made["type_missing"][plain] - expected).max() <= 1


@pytest.mark.parametrize("variant", ["rot_only", "full"])
def test_angles_of_the_missing_range_are_answered_below_it(requests, variant):
    spec = DatasetSpec(variant, 4, SIZE, 0)
    held_out = held_out_samples(spec)
    angles_missing(spec, held_out)
    [(types, factors)] = requests
    asked, answered = held_out.factors[:, 1], factors[:, 1]
    inside = (asked >= LOW) & (asked < HIGH)
    np.testing.assert_array_equal(types, held_out.type)
    np.testing.assert_array_equal(factors[:, [0, 2, 3, 4]], held_out.factors[:, [0, 2, 3, 4]])
    np.testing.assert_array_equal(answered[~inside], asked[~inside])
    np.testing.assert_allclose(answered[inside], asked[inside] - (HIGH - LOW), rtol=1e-6)
    assert inside.sum() == pytest.approx(N / 6, abs=3)
    assert not ((answered > LOW + 1e-6) & (answered < HIGH - 1e-6)).any()


def test_images_show_no_angle_of_the_missing_range(rot_only):
    spec, held_out, _, made = rot_only
    theta = held_out.factors[:, 1].astype(np.float64)
    inside = (theta >= LOW) & (theta < HIGH)
    np.testing.assert_array_equal(made["angles_missing"][~inside], fresh(spec, held_out)[~inside])
    rows = np.flatnonzero(inside & (held_out.type != 1))
    expected = exact(held_out.type[rows], theta[rows] - math.radians(10.0))
    assert len(rows) > 10
    assert np.abs(made["angles_missing"][rows] - expected).max() <= 1
