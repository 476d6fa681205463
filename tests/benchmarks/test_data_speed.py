import numpy as np
import pytest
import torch

from toycrystals.crystals.dataset import BLOCK, DatasetSpec, OnTheFlyDataset, blocks, make_block
from toycrystals.crystals.lattice import LATTICES, place
from toycrystals.crystals.render import atom_sigma, render_uint8

SPEC = DatasetSpec("full", 4, 64, 0)
N_IMAGES = 8
N_SAMPLES = 8 * BLOCK


@pytest.fixture(scope="module")
def crystals():
    """Sites and widths of triangular crystals of 64 x 64 pixels."""
    rng = np.random.default_rng(0)
    spacing, theta = rng.uniform(6.0, 14.0, N_IMAGES), rng.uniform(0.0, 1.0, N_IMAGES)
    sites = place(LATTICES[2].unit_sites(9.0), spacing, theta, np.ones(N_IMAGES), (32.0, 32.0))
    return sites, atom_sigma(spacing)


def double_loop(sites, sigma):
    """Every atom at every pixel, without a cutoff."""
    y, x = np.mgrid[:64, :64]
    images = []
    for atoms, width in zip(sites, sigma, strict=True):
        image = sum(np.exp(-((x - site_x) ** 2 + (y - site_y) ** 2) / (2 * width**2)) for site_x, site_y in atoms)
        images.append(np.rint(255 * image / image.max()).astype(np.uint8))
    return np.stack(images)


@pytest.mark.benchmark(group="render 8 images")
def test_double_loop(benchmark, crystals):
    images = benchmark.pedantic(double_loop, crystals, rounds=3, warmup_rounds=1)
    assert images.shape == (N_IMAGES, 64, 64)


@pytest.mark.benchmark(group="render 8 images")
def test_renderer(benchmark, crystals):
    images = benchmark(render_uint8, *crystals, 64)
    np.testing.assert_allclose(images.astype(int), double_loop(*crystals), atol=1)


@pytest.mark.benchmark(group="make 8,192 samples")
def test_block_by_block(benchmark):
    made = benchmark.pedantic(
        lambda: [make_block(SPEC, "train", index) for index in range(N_SAMPLES // BLOCK)], rounds=3, warmup_rounds=1
    )
    assert sum(len(block) for block in made) == N_SAMPLES


@pytest.mark.benchmark(group="make 8,192 samples")
def test_blocks_by_threads(benchmark):
    made = benchmark.pedantic(lambda: list(blocks(SPEC, "train", N_SAMPLES)), rounds=3, warmup_rounds=1)
    assert sum(len(block) for block in made) == N_SAMPLES


def read_from_memory(samples, i):
    return torch.from_numpy(samples.images[i]).float() / 255.0, torch.tensor(samples.type[i]), torch.tensor(samples.labels[i])


@pytest.mark.benchmark(group="read one sample")
def test_from_memory(benchmark):
    samples = make_block(SPEC, "train", 0)
    image, _, _ = benchmark(read_from_memory, samples, 7)
    assert image.shape == (1, 64, 64)


@pytest.mark.benchmark(group="read one sample")
def test_on_the_fly(benchmark):
    data = OnTheFlyDataset(SPEC, "train", BLOCK)
    image, _, _ = benchmark(data.__getitem__, 7)
    assert image.shape == (1, 64, 64)
