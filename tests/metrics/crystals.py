"""Exact crystals with their truth, what spoils them, and how far an answer is from the truth."""

import numpy as np

from toycrystals.crystals.dataset import exact_images
from toycrystals.crystals.lattice import LATTICES
from toycrystals.metrics.recovery import REASONS

SIZE = 64
SQUARE, RECTANGULAR, TRIANGULAR, HONEYCOMB = range(4)
PERIODS = np.array([lattice.period for lattice in LATTICES])
# Aspects this far from 1 keep the rectangular lattice apart from the square one.
ASPECTS = [0.77, 0.8543, 1.1787, 1.33]


def crystal(k, theta, aspect=1.0, spacing=10.0, size=SIZE):
    return exact_images(k, np.array([spacing]), np.array([theta]), np.array([aspect]), size)


def every_type(n):
    """Exact crystals of all types with their truth: images, types, theta, aspect."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(4), n)
    theta = rng.uniform(0.0, PERIODS[types])
    aspect = np.where(types == RECTANGULAR, rng.choice(ASPECTS, 4 * n), 1.0)
    images = np.concatenate([crystal(k, *rest) for k, *rest in zip(types, theta, aspect, strict=True)])
    return images, types, theta, aspect


def rounded(images):
    return np.round(images * 255).astype(np.float32) / 255


def angle_error(found, theta, types):
    """In degrees, modulo the type's symmetry."""
    period = PERIODS[types]
    return np.degrees(np.abs((found - theta + period / 2) % period - period / 2))


def reasons(recovered):
    return [REASONS[code] for code in recovered.reason]
