"""Templates: each is its own best hit, and thumbnails show the centre."""

import numpy as np
import pytest
from crystals import crystal

from toycrystals.metrics.templates import Templates, thumbnails


@pytest.mark.parametrize(("size", "pixels"), [(16, 256), (32, 1024), (64, 1024), (128, 1024)])
def test_thumbnails_show_the_centre(size, pixels):
    images = np.random.default_rng(0).random((3, size, size)).astype(np.float32)
    flat = thumbnails(images)
    assert flat.shape == (3, pixels)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), 1.0, rtol=1e-5)
    if size == 128:
        np.testing.assert_array_equal(flat, thumbnails(images[:, 32:96, 32:96]))


def test_a_template_is_its_own_best_hit():
    templates = Templates("full", 4, 32, theta_step=10.0, aspect_step=0.2)
    rows = np.random.default_rng(0).integers(len(templates.lattice), size=20)
    types = np.repeat(templates.type, np.diff(templates.ends, prepend=0))[rows]
    images = [
        crystal(k, lattice[1], lattice[2], lattice[0], 32) for k, lattice in zip(types, templates.lattice[rows], strict=True)
    ]
    hits = templates.search(np.concatenate(images))
    np.testing.assert_allclose(hits.ncc.max(axis=1), 1.0, rtol=0.0, atol=1e-5)
    own = (hits.type == types[:, None]) & (hits.lattice[..., 0] == templates.lattice[rows, :1])
    np.testing.assert_allclose(hits.ncc[own], 1.0, rtol=0.0, atol=1e-5)
