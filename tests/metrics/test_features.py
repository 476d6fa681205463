"""Features of images: what they see, that they come back from disk, and that no size or variant breaks them."""

import numpy as np
import pytest
import torch

from toycrystals.dataset import VARIANTS, DatasetSpec, make_samples
from toycrystals.metrics.features import VIEWS, FactorNetwork, FactorObjective, FeatureConfig, FeatureExtractor
from toycrystals.rng import seed_initialisation
from toycrystals.training import Trainer, TrainingConfig

CPU = torch.device("cpu")


def tensors(samples):
    return (torch.from_numpy(array) for array in (samples.images, samples.type, samples.factors))


def untrained(variant="rot_only", n_types=4, size=32, components=8, width=8, n=64):
    config = FeatureConfig(variant, n_types, size, components, width)
    seed_initialisation(0)
    samples = make_samples(DatasetSpec(variant, n_types, size, seed=0), "train", n)
    return samples, FeatureExtractor.fit(config, FactorNetwork(config), torch.from_numpy(samples.images))


@pytest.fixture(scope="module")
def fitted():
    return untrained(n=512)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("n_types", "size"), [(1, 16), (3, 33), (4, 32)])
def test_features_have_their_shape_for_every_variant_and_size(variant, n_types, size):
    samples, extractor = untrained(variant, n_types, size)
    features = extractor(samples.images)
    assert set(features) == set(VIEWS)
    for view in VIEWS:
        assert features[view].shape == (64, 8)
        assert features[view].dtype == np.float32
        assert np.isfinite(features[view]).all()
        assert np.all(extractor.bandwidths(view) > 0)


def test_principal_components_are_those_of_an_independent_decomposition(fitted):
    samples, extractor = fitted
    flat = samples.images.reshape(512, -1) / 255.0
    centred = flat - flat.mean(axis=0)
    _, values, _ = np.linalg.svd(centred, full_matrices=False)
    variances = extractor.pca(samples.images).astype(np.float64).var(axis=0) * 512
    np.testing.assert_allclose(variances, values[:8] ** 2, rtol=1e-2)


def test_features_do_not_depend_on_the_batch(fitted):
    samples, extractor = fitted
    np.testing.assert_allclose(extractor(samples.images)["network"][:3], extractor(samples.images[:3])["network"], atol=1e-5)


def test_extractor_comes_back_as_it_was(fitted):
    samples, extractor = fitted
    again = FeatureExtractor.restore(*extractor.tensors_and_meta())
    for view in VIEWS:
        np.testing.assert_array_equal(again(samples.images)[view], extractor(samples.images)[view])
        np.testing.assert_array_equal(again.bandwidths(view), extractor.bandwidths(view))


@pytest.mark.parametrize("variant", VARIANTS)
def test_network_learns_the_factors_of_its_variant(variant):
    spec = DatasetSpec(variant, 4, 32, seed=0)
    config = FeatureConfig(variant, 4, 32, 8, 32)
    samples = make_samples(spec, "train", 2048)
    images, types, factors = tensors(samples)
    seed_initialisation(0)
    network = FactorNetwork(config)
    objective = FactorObjective(network, config, images, types, factors)
    trainer = Trainer(network, objective, 2048, TrainingConfig(0, 6, 64, 2e-3, torch.float32), CPU)
    records = [record.losses["type"].item() for record in trainer.run()]
    # Chance is log 4.
    assert np.mean(records[-20:]) < 0.6 < np.mean(records[:5])


def test_targets_are_equal_for_equal_images():
    """Angles a period apart show the same crystal, and must ask for the same outputs."""
    config = FeatureConfig("rot_only", 4, 32, 8, 8)
    images = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    types, factors = torch.tensor([3, 3]), torch.tensor([[10.0, 0.1, 0, 0, 1], [10.0, 0.1 + 2 * np.pi / 3, 0, 0, 1]])
    objective = FactorObjective(FactorNetwork(config), config, images, types, factors)
    torch.testing.assert_close(objective.targets[0], objective.targets[1], atol=1e-5, rtol=0)
    assert objective.targets.shape == (2, 3)
