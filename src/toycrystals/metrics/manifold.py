"""Real and generated features by who lies in whose neighbourhood: is what is made real, and is all that is real made?

A set's manifold is the union of balls about its points, each as wide as the distance to its point's k-th nearest neighbour in
the same set: precision and recall (Kynkaanniemi et al. 2019), coverage (Naeem et al. 2020).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toycrystals.metrics.base import ALL, JudgedImages, Measures, on_images
from toycrystals.metrics.distribution import check_paired
from toycrystals.metrics.intervals import Estimate, Floats, Weights, share

Array = NDArray[np.floating]
_CHUNK = 512
# Squared distances are right to about 1e-15 of the squared norms; a point must not fall out of a ball that ends on it.
_ROUNDING = 1e-12


@on_images("distribution", precision_pca="higher", recall_pca="higher", coverage_pca="higher")
def manifold_of_images(judged: JudgedImages) -> Measures:
    """The images' features among those of the held-out images."""
    scores = manifold(judged.real_features, judged.features, judged.neighbours, judged.weights)
    return {(f"{name}_pca", ALL): estimate for name, estimate in scores.items()}


def manifold(real: Array, generated: Array, k: int, weights: Weights) -> dict[str, Estimate]:
    """Precision, recall and coverage of generated against real features, [n, D] both.

    precision: the share of generated points in some real ball; recall: the share of real points in some generated ball;
    coverage: the share of real points whose own ball holds a generated point. Recall trusts generated balls, which one
    outlier widens; coverage does not.

    Replicates weigh the points by `weights` [B, n] and leave the balls as they are: a ball drawn from a resample would shrink
    to its centre's copies. So intervals hold what the choice of tested points adds, not that of the balls' centres.
    """
    check_paired(real, generated)
    centre = np.mean(real, axis=0, dtype=np.float64)
    real, generated = real - centre, generated - centre
    real_radii, generated_radii = _squared_radii(real, k), _squared_radii(generated, k)
    in_some, in_generated, covered = np.zeros((3, len(real)), dtype=np.bool_)
    for rows, squared in _squared_distances(real, generated):
        in_real = squared <= real_radii[rows, None]
        in_some |= in_real.any(axis=0)
        covered[rows] = in_real.any(axis=1)
        in_generated[rows] = np.any(squared <= generated_radii, axis=1)
    hits = {"precision": in_some, "recall": in_generated, "coverage": covered}
    return {name: share(points, weights) for name, points in hits.items()}


def _squared_radii(points: Floats, k: int) -> Floats:
    """Squared distance [n] of each point [n, D] to its k-th nearest other point (to the farthest, where there are fewer)."""
    k = min(k, len(points) - 1)
    # The nearest of all is the point itself.
    radii = np.concatenate([np.partition(squared, k, axis=1)[:, k] for _, squared in _squared_distances(points, points)])
    return np.asarray(radii + _ROUNDING * (radii + np.sum(points**2, axis=1)))


def _squared_distances(a: Floats, b: Floats) -> Iterator[tuple[slice, Floats]]:
    """Squared distances [rows, m] of some rows of a [n, D] to all of b [m, D], for all rows in turn."""
    norm_a, norm_b = np.sum(a**2, axis=1), np.sum(b**2, axis=1)
    for start in range(0, len(a), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(a)))
        squared = a[rows] @ (-2 * b.T)
        squared += norm_a[rows, None]
        squared += norm_b
        yield rows, squared
