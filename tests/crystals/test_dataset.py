"""Samples: the same on every machine, no two alike, factors as they are said to be; and the same conditions drawn anew."""

import hashlib
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from small_samples import FULL, SMALL, arrays, assert_same

from toycrystals.crystals.dataset import (
    SPLITS,
    DatasetSpec,
    draw_factors,
    load_samples,
    make_samples,
    redraw,
    tensor_shapes,
    to_unit_interval,
)
from toycrystals.crystals.variants import FACTORS, VARIANTS

ROT_ONLY = DatasetSpec("rot_only", 4, 64, 0)
RANGES = {
    "simple": [(10, 10), (0, 0), (0, 0), (0, 0)],
    "rot_only": [(10, 10), (0, math.pi / 3), (0, 0), (0, 0)],
    "full": [(6, 14), (0, math.pi / 3), (0, 0.25), (0, 0.6)],
}
VISIBLE = {"simple": [0, 0, 0, 0], "rot_only": [0, 1, 0, 0], "full": [1, 1, 1, 1]}


def digests(images):
    return {hashlib.sha256(image.tobytes()).digest() for image in images}


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


def test_samples_are_sliced_field_by_field():
    samples = make_samples(SMALL, "train", 40)
    assert len(samples) == 40
    chosen = np.array([5, 2, 30])
    picked = samples[chosen]
    assert len(picked) == 3
    np.testing.assert_array_equal(picked.images[1], samples.images[2])
    np.testing.assert_array_equal(picked.factors, samples.factors[chosen])


def test_samples_come_back_from_tensors_with_what_they_were_drawn_from():
    samples = make_samples(SMALL, "train", 10)
    tensors = {name: torch.from_numpy(array) for name, array in arrays(samples).items()}
    again, spec = load_samples({**tensors, "index": torch.arange(10)}, {"spec": asdict(SMALL), "kind": "dataset"})
    assert_same(again, samples)
    assert spec == SMALL


def test_pixels_are_shares_of_the_brightest():
    images = to_unit_interval(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(images, torch.tensor([0.0, 0.2, 1.0]))
