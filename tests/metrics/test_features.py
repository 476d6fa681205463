"""Principal components against an independent decomposition; no size or variant breaks them, and they come back from disk."""

import numpy as np
import pytest

from toycrystals.crystals.dataset import DatasetSpec, make_samples
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics import features as module
from toycrystals.metrics.features import Features
from toycrystals.metrics.mmd import bandwidths


def fitted(variant="rot_only", n_types=4, size=32, components=8, n=64):
    spec = DatasetSpec(variant, n_types, size, seed=0)
    images = make_samples(spec, "train", n).images
    return images, Features.fit(images, components)


@pytest.fixture(scope="module")
def known():
    return fitted(n=512)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("n_types", "size"), [(1, 16), (3, 33)])
def test_every_variant_and_size_has_its_features(variant, n_types, size):
    images, features = fitted(variant, n_types, size)
    found = features(images)
    assert found.shape == (64, 8)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(features.bandwidths, bandwidths(found))
    assert (features.bandwidths > 0).all()


def test_variances_are_those_of_an_independent_decomposition(known):
    images, features = known
    flat = images.reshape(512, -1) / 255.0
    _, values, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    found = features(images).astype(np.float64)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose((found**2).sum(axis=0), values[:8] ** 2, rtol=1e-2)
    np.testing.assert_allclose(features.components @ features.components.T, np.eye(8), atol=1e-5)


def test_no_distance_grows_and_all_components_keep_it():
    """Features are a projection: distances shrink, and stay where nothing is left out."""
    images, some = fitted(n=40, size=16)
    _, all_of_them = fitted(n=40, size=16, components=1000)
    assert len(all_of_them.components) == 40
    flat = images.reshape(40, -1) / 255.0
    true, shorter, same = (np.linalg.norm(rows - rows[0], axis=1) for rows in (flat, some(images), all_of_them(images)))
    assert (shorter <= true + 1e-4).all()
    np.testing.assert_allclose(same, true, atol=1e-3)


def test_features_depend_neither_on_the_batch_nor_on_images_beyond_those_fitted(known, monkeypatch):
    images, features = known
    whole = features(images)
    np.testing.assert_allclose(features(images[:3]), whole[:3], atol=1e-5)
    monkeypatch.setattr(module, "_BATCH", 100)
    np.testing.assert_allclose(features(images), whole, atol=1e-5)
    monkeypatch.setattr(module, "_FITTED_ON", 256)
    first, again = (Features.fit(some, 8) for some in (images, images[:256]))
    np.testing.assert_array_equal(first.components, again.components)
