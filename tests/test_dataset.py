import hashlib
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from scipy.stats import kstest
from test_render import slow_crystal, slow_sum
from torch.utils.data import DataLoader

from toycrystals import dataset
from toycrystals.artifacts import TensorWriter, load_pt, load_tensors, save_pt
from toycrystals.dataset import (
    BLOCK,
    FACTORS,
    SPLITS,
    VARIANTS,
    DatasetSpec,
    OnTheFlyDataset,
    Samples,
    blocks,
    concatenate,
    draw_factors,
    exact_images,
    from_pt_dict,
    make_block,
    make_samples,
    redraw,
    tensor_shapes,
    to_pt_dict,
)
from toycrystals.errors import UserError
from toycrystals.lattice import LATTICES, TYPES

ROT_ONLY, FULL = (DatasetSpec(variant, 4, 64, 0) for variant in ("rot_only", "full"))
SMALL = DatasetSpec("full", 4, 16, 0)
RANGES = {
    "simple": [(10, 10), (0, 0), (0, 0), (0, 0)],
    "rot_only": [(10, 10), (0, math.pi / 3), (0, 0), (0, 0)],
    "full": [(6, 14), (0, math.pi / 3), (0, 0.25), (0, 0.6)],
}
VISIBLE = {"simple": [0, 0, 0, 0], "rot_only": [0, 1, 0, 0], "full": [1, 1, 1, 1]}


def arrays(samples):
    return {field.name: getattr(samples, field.name) for field in fields(samples)}


def assert_same(one, other):
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)
        assert array.dtype == getattr(other, name).dtype


def digests(images):
    return {hashlib.sha256(image.tobytes()).digest() for image in images}


@pytest.fixture(scope="module")
def full():
    return make_samples(FULL, "train", 2048)


@pytest.fixture(scope="module")
def rot_only():
    return make_samples(ROT_ONLY, "train", 2048)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 3),
    st.floats(6.0, 14.0),
    st.floats(-7.0, 7.0),
    st.floats(0.75, 1.35),
    st.integers(16, 40),
)
@example(1, 6.0, math.pi / 4, 0.75, 40)
@example(1, 6.0, -math.pi / 4, 1.35, 40)
def test_perfect_crystals_are_those_of_the_slow_double_loop(lattice_type, spacing, theta, aspect, size):
    image = exact_images(
        lattice_type, np.array([spacing]), np.array([theta]), np.array([aspect if lattice_type == 1 else 1.0]), size
    )
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], slow_crystal(lattice_type, spacing, theta, aspect, size), atol=1e-6)


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
@pytest.mark.parametrize("size", [64, 33])
def test_dataset_images_are_those_of_the_slow_double_loop(variant, size):
    samples = make_samples(DatasetSpec(variant, 4, size, 3), "val", 32)
    assert set(samples.type) == {0, 1, 2, 3}
    for image, lattice_type, (spacing, theta, _, _, aspect) in zip(samples.images, samples.type, samples.factors, strict=True):
        expected = 255 * slow_crystal(lattice_type, float(spacing), float(theta), float(aspect), size)
        # Half a level of rounding, and the factors' own rounding to float32.
        assert np.abs(image[0] - expected).max() <= 0.5 + 1e-3


@pytest.fixture
def rendered(monkeypatch):
    """What the renderer was asked for, call by call."""
    calls = []

    def spy(sites, sigma, size, present):
        calls.append((sites.copy(), sigma.copy(), present.copy()))
        return real(sites, sigma, size, present)

    real = dataset.render_uint8
    monkeypatch.setattr(dataset, "render_uint8", spy)
    return calls


def test_disordered_images_are_those_of_the_slow_double_loop_over_their_atoms(rendered):
    samples = make_block(FULL, "train", 0, 24)
    for lattice_type, (sites, _, present) in enumerate(rendered):
        rows = np.flatnonzero(samples.type == lattice_type)
        assert len(rows) == len(sites) > 0
        for row, atoms, there in zip(rows, sites, present, strict=True):
            expected = slow_sum(atoms[there], max(0.6, 0.12 * float(samples.factors[row, 0])), 64)
            assert np.abs(samples.images[row, 0] - 255 * expected / expected.max()).max() <= 0.5 + 1e-3


def test_disordered_images_resemble_the_perfect_crystal_of_their_labels(full):
    nearly_perfect = np.flatnonzero((full.labels[:, 2] < 0.06) & (full.labels[:, 3] < 0.15))
    assert len(nearly_perfect) > 50
    for row in nearly_perfect:
        spacing, theta, _, _, aspect = full.factors[row].astype(float)
        perfect = exact_images(full.type[row], np.array([spacing]), np.array([theta]), np.array([aspect]), 64)[0]
        assert np.corrcoef(perfect.ravel(), full.images[row].ravel())[0, 1] > 0.85


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
@pytest.mark.parametrize(("theta", "spacing"), [(0.0, 10.0), (0.3, 6.5), (1.0, 13.0)])
def test_an_image_repeats_with_its_types_period_and_no_part_of_it(lattice_type, theta, spacing):
    period = LATTICES[lattice_type].period
    assert period == pytest.approx(np.deg2rad((90, 180, 60, 120)[lattice_type]))
    angles = theta + period * np.array([0.0, 1.0, -1.0, 2.0, 1 / 2, 1 / 3, 1 / 4, 0.1])
    aspect = 1.3 if lattice_type == 1 else 1.0
    images = exact_images(lattice_type, np.full(8, spacing), angles, np.full(8, aspect), 64)
    changes = np.abs(images - images[0]).max(axis=(1, 2))
    assert (changes[:4] < 1e-5).all()
    assert (changes[4:] > 0.3).all()


@pytest.mark.parametrize("size", [16, 33, 64])
def test_one_site_lies_at_half_the_width_and_height(size):
    images = make_samples(DatasetSpec("rot_only", 3, size, 1), "train", 200).images[:, 0]
    if size % 2 == 0:
        assert (images[:, size // 2, size // 2] == 255).all()
    # These three lattices look the same from both sides of a site: pixel (x, y) and pixel (W - x, H - y).
    np.testing.assert_allclose(images[:, 1:, 1:].astype(int), images[:, :0:-1, :0:-1], atol=1)


def test_a_batch_of_perfect_crystals_is_each_of_them_alone():
    rng = np.random.default_rng(0)
    spacing, theta, aspect = rng.uniform(6, 14, 12), rng.uniform(0, 3, 12), rng.uniform(0.6, 1.6, 12)
    together = exact_images(1, spacing, theta, aspect, 32)
    alone = [exact_images(1, spacing[i : i + 1], theta[i : i + 1], aspect[i : i + 1], 32)[0] for i in range(12)]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_no_crystals_give_no_images():
    assert exact_images(0, np.empty(0), np.empty(0), np.empty(0), 32).shape == (0, 32, 32)


# One number for all machines: data hashes in dvc.lock are only worth something if these hold everywhere.
@pytest.mark.parametrize(
    ("spec", "golden"),
    [
        (ROT_ONLY, "a17c4a32656cd6d37d2685fc0e372b285e41e3263612cc41439364ab1de7a4d2"),
        (FULL, "b0488ac59eb7545b3e09bdb45d37e75562d52b0a79d4c7697058a1f8228ba564"),
    ],
    ids=["rot_only", "full"],
)
def test_bytes_are_the_same_on_every_machine(spec, golden):
    samples = make_samples(spec, "train", 2048)
    digest = hashlib.sha256()
    for name in ("images", "type", "labels", "factors"):
        digest.update(getattr(samples, name).tobytes())
    assert digest.hexdigest() == golden


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [1, 1000, 1024, 1025, 1500])
def test_a_short_dataset_is_a_prefix_of_a_long_one(variant, n):
    spec = DatasetSpec(variant, 4, 16, 0)
    assert_same(make_samples(spec, "train", n), make_samples(spec, "train", 2100)[:n])


def test_splits_seeds_and_blocks_share_no_image():
    specs = [DatasetSpec("full", 4, 16, seed) for seed in (0, 1)]
    sets = [digests(make_samples(spec, split, 1500).images) for spec in specs for split in SPLITS]
    assert [len(images) for images in sets] == [1500] * 8
    assert len(set().union(*sets)) == 8 * 1500


def test_splits_and_seeds_share_no_angle():
    specs = [DatasetSpec("rot_only", 4, 16, seed) for seed in (0, 1)]
    thetas = [make_samples(spec, split, 1500).labels[:, 1] for spec in specs for split in SPLITS]
    pooled = np.concatenate(thetas)
    # Of 12,000 float32 numbers some coincide; a shifted or repeated split would share most.
    assert len(np.unique(pooled)) > 0.99 * len(pooled)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_do_not_depend_on_the_number_of_threads(workers, monkeypatch):
    monkeypatch.setattr(dataset, "available_cores", lambda: workers)
    one_by_one = [make_block(SMALL, "test", index, min(BLOCK, 9000 - BLOCK * index)) for index in range(9)]
    threaded = list(blocks(SMALL, "test", 9000))
    assert [len(block) for block in threaded] == [BLOCK] * 8 + [9000 - 8 * BLOCK]
    assert_same(concatenate(threaded), concatenate(one_by_one))


class AtOnce(ThreadPoolExecutor):
    """Does what it is given before it takes more."""

    def submit(self, function, /, *arguments):
        future = super().submit(function, *arguments)
        future.result()
        return future


def test_blocks_are_made_as_they_are_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr(dataset, "available_cores", lambda: 2)
    monkeypatch.setattr(dataset, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(dataset, "make_block", lambda *key: made.append(key[2]) or key[2])
    stream = blocks(SMALL, "train", 100 * BLOCK)
    for index in range(100):
        assert next(stream) == index
        assert len(made) <= index + 8
    assert next(stream, None) is None
    assert made == list(range(100))


@pytest.mark.parametrize("variant", VARIANTS)
def test_factors_lie_in_their_ranges_and_labels_hide_what_the_variant_hides(variant):
    samples = make_samples(DatasetSpec(variant, 4, 16, 2), "train", 2048)
    for column, (low, high) in enumerate(RANGES[variant]):
        values = samples.factors[:, column]
        assert (values >= np.float32(low)).all()
        assert ((values < high) | (low == high)).all()
        assert (values.std() > 0) == (low < high)
    np.testing.assert_array_equal(samples.labels, samples.factors[:, :4] * np.float32(VISIBLE[variant]))
    rectangular = samples.type == 1
    assert (samples.factors[~rectangular, 4] == 1.0).all()
    assert (samples.factors[rectangular, 4] >= 0.75).all()
    assert (samples.factors[rectangular, 4] < 1.35).all()
    assert samples.factors[rectangular, 4].std() > 0.1


def test_fields_have_the_documented_shapes_and_types():
    samples = make_samples(DatasetSpec("full", 3, 20, 0), "val", 1030)
    found = {name: (str(array.dtype), array.shape) for name, array in arrays(samples).items()}
    assert found == tensor_shapes(1030, 20)
    assert found == {
        "images": ("uint8", (1030, 1, 20, 20)),
        "type": ("int64", (1030,)),
        "labels": ("float32", (1030, 4)),
        "factors": ("float32", (1030, 5)),
    }
    assert FACTORS == ("spacing", "theta", "vacancy", "jitter", "aspect")


def test_types_and_factors_are_uniform_and_independent():
    n = 50_000
    rng = np.random.default_rng(0)
    types = rng.integers(FULL.n_types, size=n)
    factors = draw_factors(rng, FULL.variant, types)
    counts = np.bincount(types, minlength=4)
    assert np.abs(counts - n / 4).max() < 5 * math.sqrt(n * 3 / 16)
    for values, (low, high) in zip(factors.T, RANGES["full"], strict=False):
        assert kstest(values, "uniform", args=(low, high - low)).pvalue > 1e-3
    aspects = factors[types == 1, 4]
    assert kstest(aspects, "uniform", args=(0.75, 0.6)).pvalue > 1e-3
    correlations = np.corrcoef(np.vstack([types, factors[:, :4].T])) - np.eye(5)
    assert np.abs(correlations).max() < 5 / math.sqrt(n)
    assert np.abs(np.corrcoef(np.vstack([aspects, factors[types == 1, :4].T]))[0, 1:]).max() < 5 / math.sqrt(len(aspects))


@pytest.mark.parametrize("n_types", [1, 2, 3, 4])
def test_types_are_the_first_of_the_lattices(n_types):
    samples = make_samples(DatasetSpec("rot_only", n_types, 16, 0), "train", 500)
    assert set(samples.type) == set(range(n_types))


@pytest.mark.parametrize("lattice_type", range(4), ids=TYPES)
def test_vacancies_and_jitter_have_the_share_and_the_spread_asked_for(lattice_type):
    b, share, spread = 400, 0.2, 0.5
    factors = np.tile([7.0, 0.4, share, spread, 0.9 if lattice_type == 1 else 1.0], (b, 1))
    ordered = factors * (1, 1, 0, 0, 1)
    sites, present = dataset._disturbed_sites(np.random.default_rng(0), FULL, lattice_type, factors)
    perfect, complete = dataset._disturbed_sites(np.random.default_rng(0), FULL, lattice_type, ordered)
    assert complete.all()
    assert np.ptp(perfect, axis=0).max() == 0.0
    n = present.size
    assert abs((~present).mean() - share) < 5 * math.sqrt(share * (1 - share) / n)
    moved = (sites - perfect).reshape(-1, 2)
    assert np.abs(moved.mean(axis=0)).max() < 5 * spread / math.sqrt(n)
    assert np.abs(moved.std(axis=0) / spread - 1).max() < 5 / math.sqrt(2 * n)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / math.sqrt(n)
    assert kstest(moved.ravel()[:20_000] / spread, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(present.ravel(), np.hypot(*moved.T))[0, 1]) < 5 / math.sqrt(n)


def test_each_crystal_has_vacancies_and_jitter_of_its_own():
    factors = np.array([[10.0, 0.0, 0.0, 0.0, 1.0], [10.0, 0.0, 0.25, 0.6, 1.0], [10.0, 0.0, 0.1, 0.2, 1.0]]).repeat(200, axis=0)
    sites, present = dataset._disturbed_sites(np.random.default_rng(0), FULL, 0, factors)
    missing = (~present).reshape(3, -1).mean(axis=1)
    spreads = (sites - sites[0]).reshape(3, -1).std(axis=1)
    np.testing.assert_allclose(missing, [0.0, 0.25, 0.1], atol=0.01)
    np.testing.assert_allclose(spreads, [0.0, 0.6, 0.2], atol=0.01)


@pytest.mark.parametrize("variant", ["simple", "rot_only"])
def test_ordered_variants_have_every_site_in_its_place(variant):
    factors = np.array([[10.0, 0.2, 0.0, 0.0, 1.0]])
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    _, present = dataset._disturbed_sites(rng, DatasetSpec(variant, 4, 64, 0), 2, factors)
    assert present.all()
    assert rng.bit_generator.state == state


def test_a_redraw_keeps_the_visible_and_draws_the_hidden_anew():
    test = make_samples(DatasetSpec("rot_only", 4, 32, 0), "test", 3000)
    again = redraw(DatasetSpec("rot_only", 4, 32, 0), test.type, test.factors)
    np.testing.assert_array_equal(again.type, test.type)
    np.testing.assert_array_equal(again.labels, test.labels)
    np.testing.assert_array_equal(again.factors[:, :4], test.factors[:, :4])
    rectangular = test.type == 1
    difference = np.abs(again.images.astype(int) - test.images)
    assert difference[~rectangular].max() <= 1
    aspects = np.stack([test.factors[rectangular, 4], again.factors[rectangular, 4]])
    assert (aspects[0] != aspects[1]).all()
    assert (again.factors[~rectangular, 4] == 1.0).all()
    assert abs(np.corrcoef(aspects)[0, 1]) < 5 / math.sqrt(aspects.shape[1])
    assert kstest(aspects[1], "uniform", args=(0.75, 0.6)).pvalue > 1e-3


def test_redrawn_images_show_their_redrawn_factors():
    test = make_samples(DatasetSpec("rot_only", 4, 32, 0), "test", 40)
    again = redraw(DatasetSpec("rot_only", 4, 32, 0), test.type, test.factors)
    for image, lattice_type, (spacing, theta, _, _, aspect) in zip(again.images, again.type, again.factors, strict=True):
        expected = slow_crystal(lattice_type, float(spacing), float(theta), float(aspect), 32)
        assert np.abs(image[0] - 255 * expected).max() <= 0.5 + 1e-3


def test_a_redraw_of_disorder_shares_all_labels_and_no_image():
    spec = DatasetSpec("full", 1, 16, 0)
    test = make_samples(spec, "test", 2500)
    again = redraw(spec, test.type, test.factors)
    np.testing.assert_array_equal(again.labels, test.labels)
    assert (again.images.reshape(2500, -1).max(axis=1) == 255).all()
    assert not digests(again.images) & digests(test.images)
    assert len(digests(again.images)) == 2500
    assert_same(again, redraw(spec, test.type, test.factors))
    assert not np.array_equal(again.images, redraw(DatasetSpec("full", 1, 16, 1), test.type, test.factors).images)


@pytest.mark.parametrize("variant", VARIANTS)
def test_draws_agree_in_what_labels_show_and_differ_in_what_they_hide(variant):
    spec = DatasetSpec(variant, 4, 32, 0)
    test = make_samples(spec, "test", 1200)
    draws = [redraw(spec, test.type, test.factors, draw) for draw in range(3)]
    assert_same(redraw(spec, test.type, test.factors), draws[0])
    shown, rectangular = np.flatnonzero(VISIBLE[variant]), test.type == 1
    for drawn in draws:
        np.testing.assert_array_equal(drawn.type, test.type)
        np.testing.assert_array_equal(drawn.labels, test.labels)
        np.testing.assert_array_equal(drawn.factors[:, shown], test.factors[:, shown])
    aspects = np.stack([test.factors[rectangular, 4], *(drawn.factors[rectangular, 4] for drawn in draws)])
    correlations = np.corrcoef(aspects) - np.eye(4)
    assert np.abs(correlations).max() < 5 / math.sqrt(aspects.shape[1])
    # Where nothing is hidden but the aspect, the other types' images can only be the same again.
    same = [np.all(a.images == b.images, axis=(1, 2, 3)) for a, b in ((draws[0], draws[1]), (draws[1], draws[2]))]
    for equal in same:
        assert equal[rectangular].mean() < 0.02
        assert equal[~rectangular].all() == (variant != "full")


def test_draws_of_disorder_share_no_image():
    spec = DatasetSpec("full", 2, 32, 0)
    test = make_samples(spec, "test", 600)
    sets = [digests(test.images), *(digests(redraw(spec, test.type, test.factors, draw).images) for draw in range(4))]
    assert len(set().union(*sets)) == 5 * 600


def test_samples_are_sliced_and_joined_field_by_field():
    samples = make_samples(SMALL, "train", 40)
    assert len(samples) == 40
    assert_same(concatenate([samples[:13], samples[13:]]), samples)
    chosen = np.array([5, 2, 30])
    picked = samples[chosen]
    assert len(picked) == 3
    np.testing.assert_array_equal(picked.images[1], samples.images[2])
    np.testing.assert_array_equal(picked.factors, samples.factors[chosen])


@pytest.fixture(scope="module")
def on_the_fly():
    return OnTheFlyDataset(SMALL, "val", 1100)


def test_items_made_on_the_fly_are_those_on_disk(on_the_fly, tmp_path):
    path = tmp_path / "val.safetensors"
    with TensorWriter(path, "dataset", tensor_shapes(1100, 16), {"spec": asdict(SMALL)}) as writer:
        for block in blocks(SMALL, "val", 1100):
            for name, array in arrays(block).items():
                writer.append(name, array)
    stored, _ = load_tensors(path, "dataset")
    assert len(on_the_fly) == 1100
    for i in (0, 1, 1023, 1024, 1099):
        image, lattice_type, labels = on_the_fly[i]
        assert image.dtype == torch.float32
        assert torch.equal((image * 255).round().to(torch.uint8), stored["images"][i])
        assert torch.equal(image, stored["images"][i].float() / 255)
        assert torch.equal(lattice_type, stored["type"][i])
        assert torch.equal(labels, stored["labels"][i])


@pytest.mark.parametrize("i", [1100, 2048, -1])
def test_there_is_no_item_past_the_ends(on_the_fly, i):
    with pytest.raises(IndexError, match=f"index {i} .* 1100"):
        on_the_fly[i]


def test_iteration_ends_after_the_last_item():
    assert len(list(OnTheFlyDataset(SMALL, "val", 5))) == 5


def test_a_data_loader_reads_every_item_once(on_the_fly):
    batches = list(DataLoader(on_the_fly, batch_size=500, shuffle=True, generator=torch.Generator().manual_seed(0)))
    assert [len(lattice_type) for _, lattice_type, _ in batches] == [500, 500, 100]
    images, types, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert (images.shape, types.dtype, labels.shape) == ((1100, 1, 16, 16), torch.int64, (1100, 4))
    expected = make_samples(SMALL, "val", 1100)
    np.testing.assert_array_equal(np.sort(labels[:, 0]), np.sort(expected.labels[:, 0]))
    assert 0.0 <= images.min() < images.max() == 1.0


def test_a_worker_process_can_be_given_the_dataset(on_the_fly):
    copy = pickle.loads(pickle.dumps(on_the_fly))
    assert len(copy) == 1100
    assert all(torch.equal(one, other) for one, other in zip(copy[1050], on_the_fly[1050], strict=True))


def test_an_item_changed_in_place_is_whole_when_asked_for_again():
    data = OnTheFlyDataset(SMALL, "val", 10)
    expected = [tensor.clone() for tensor in data[3]]
    for tensor in data[3]:
        tensor.zero_()
    assert all(torch.equal(one, other) for one, other in zip(data[3], expected, strict=True))


def test_only_the_most_recent_blocks_stay_in_memory(monkeypatch):
    made = []
    real = make_block
    monkeypatch.setattr(dataset, "make_block", lambda *key: made.append(key[2]) or real(*key))
    data = OnTheFlyDataset(SMALL, "val", 3 * BLOCK, cached_blocks=2)
    for i in (0, 1, BLOCK, 5, 2 * BLOCK, BLOCK + 1, 0):
        data[i]
    assert made == [0, 1, 2, 1, 0]


def seed_content(n=6):
    return to_pt_dict(make_samples(SMALL, "train", n))


def test_the_seed_format_comes_back_from_disk_as_it_went(tmp_path):
    samples = make_samples(SMALL, "train", 6)
    save_pt(tmp_path / "train.pt", to_pt_dict(samples))
    content = torch.load(tmp_path / "train.pt", weights_only=True)
    assert {name: (t.dtype, tuple(t.shape)) for name, t in content.items()} == {
        "x_u8": (torch.uint8, (6, 1, 16, 16)),
        "y_cat": (torch.int64, (6,)),
        "y_cont": (torch.float32, (6, 4)),
    }
    again = from_pt_dict(load_pt(tmp_path / "train.pt"), "train.pt")
    assert_same(again, Samples(samples.images, samples.type, samples.labels, np.full((6, 5), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *((name, None, [name, "NoneType"]) for name in ("x_u8", "y_cat", "y_cont")),
        ("x_u8", torch.zeros(6, 1, 16, 16), ["x_u8", "torch.uint8", "torch.float32"]),
        ("x_u8", torch.zeros(6, 16, 16, dtype=torch.uint8), ["x_u8", "4-dimensional", "(6, 16, 16)"]),
        ("x_u8", torch.zeros(6, 3, 16, 16, dtype=torch.uint8), ["[N, 1, H, H]", "(6, 3, 16, 16)"]),
        ("x_u8", torch.zeros(6, 1, 16, 8, dtype=torch.uint8), ["[N, 1, H, H]", "(6, 1, 16, 8)"]),
        ("x_u8", torch.zeros(5, 1, 16, 16, dtype=torch.uint8), ["(5, 1, 16, 16)", "(6,)"]),
        ("x_u8", [[1, 2]], ["x_u8", "list"]),
        ("y_cat", torch.zeros(6, dtype=torch.int32), ["y_cat", "torch.int64", "torch.int32"]),
        ("y_cat", torch.zeros(6, 1, dtype=torch.int64), ["y_cat", "1-dimensional", "(6, 1)"]),
        ("y_cat", torch.full((6,), 4), ["y_cat", "0 to 3"]),
        ("y_cat", torch.full((6,), -1), ["y_cat", "0 to 3"]),
        ("y_cat", torch.zeros(7, dtype=torch.int64), ["(7,)"]),
        ("y_cont", torch.zeros(6, 4, dtype=torch.float64), ["y_cont", "torch.float32", "torch.float64"]),
        ("y_cont", torch.zeros(6, 3), ["[N, 4]", "(6, 3)"]),
        ("y_cont", torch.zeros(5, 4), ["[N, 4]", "(5, 4)"]),
    ],
)
def test_a_malformed_seed_file_is_refused_in_one_line(name, value, words):
    with pytest.raises(UserError) as info:
        from_pt_dict(seed_content() | {name: value}, "their/train.pt")
    message = str(info.value)
    assert message.startswith("their/train.pt: expected ")
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("name", ["x_u8", "y_cat", "y_cont"])
def test_a_seed_file_without_a_key_is_refused(name):
    content = seed_content()
    del content[name]
    with pytest.raises(UserError, match=name):
        from_pt_dict(content, "train.pt")


def test_an_empty_seed_file_is_refused():
    with pytest.raises(UserError, match="one or more samples"):
        from_pt_dict({name: tensor[:0] for name, tensor in seed_content().items()}, "train.pt")


def test_labels_with_a_gradient_are_read_as_numbers():
    content = seed_content()
    expected = content["y_cont"].numpy().copy()
    samples = from_pt_dict(content | {"y_cont": content["y_cont"].clone().requires_grad_()}, "train.pt")
    np.testing.assert_array_equal(samples.labels, expected)
