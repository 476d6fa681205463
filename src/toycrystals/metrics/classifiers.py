"""How well a classifier tells generated from real: the area under the ROC curve on pairs that it was not trained on.

0.5 is chance and 1 a sure tell (classifier two-sample tests, Lopez-Paz and Oquab 2017). Rows i of both sets answer condition
i; both are in one fold, so that no classifier is tested on a condition whose other answer it has seen.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from toycrystals.metrics.base import ALL, JudgedCodes, JudgedImages, Measures, on_codes, on_images
from toycrystals.metrics.distribution import check_paired
from toycrystals.metrics.intervals import Estimate, Weights, with_ones

Array = NDArray[np.floating]


@on_images("distribution", auc_pca="near")
def auc_of_images(judged: JudgedImages) -> Measures:
    """Boosted trees on the images' features."""
    return {("auc_pca", ALL): boosted_auc(judged.real_features, judged.features, judged.weights, trees=25)}


@on_codes("latent", latent_auc_boosted="near", latent_auc_aggregate="near")
def auc_of_codes(judged: JudgedCodes) -> Measures:
    """Boosted trees on codes beside their conditions, and on codes alone: the aggregated posterior."""
    sets = {"latent_auc_boosted": (judged.real_joint, judged.joint)}
    # Without conditions both are the same, for trees do not see units.
    if judged.types is not None:
        sets["latent_auc_aggregate"] = judged.real_codes, judged.codes
    return {(name, ALL): boosted_auc(*pair, judged.weights, trees=50) for name, pair in sets.items()}


def auc(scores_real: Array, scores_generated: Array, weights: Weights) -> Estimate:
    """The chance that a generated row scores above a real one, [n] each; ties count half.

    `weights` [B, n] serve both sets.
    """
    check_paired(scores_real, scores_generated)
    counts = with_ones(weights)
    real, generated = np.argsort(scores_real, kind="stable"), np.argsort(scores_generated, kind="stable")
    below = np.zeros((len(counts), len(real) + 1), dtype=np.float32)  # whole numbers, so exact
    np.cumsum(counts.take(real, axis=1), axis=1, out=below[:, 1:])
    left, right = (np.searchsorted(scores_real[real], scores_generated[generated], side) for side in ("left", "right"))
    wins = below.take(left, axis=1) + below.take(right, axis=1)
    area = 0.5 * np.einsum("bj,bj->b", counts.take(generated, axis=1), wins, dtype=np.float64)
    return Estimate.ratio(area, below[:, -1].astype(np.float64) ** 2)


def boosted_auc(real: Array, generated: Array, weights: Weights, trees: int) -> Estimate:
    """The AUC of gradient-boosted trees on features [n, D], the mean of two folds; n of hundreds at least.

    Each fold is scored by trees that were fitted to the other, for scores are compared in a fold only. Leaves hold 20 rows, so
    that fewer than 20 pairs are at chance.
    """
    # Here, for it takes as long to import as torch.
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

    check_paired(real, generated)
    if len(real) < 2:
        return Estimate(np.nan)
    # Drawn, for the list of conditions may go through the types in turn.
    halves = [np.sort(rows) for rows in np.array_split(np.random.default_rng(len(real)).permutation(len(real)), [len(real) // 2])]
    folds = []
    # One thread: at this size a second gains a quarter, and beside another busy process costs thirty times as much.
    with threadpool_limits(limits=1, user_api="openmp"):
        for train, test in (halves, halves[::-1]):
            features = np.concatenate([real[train], generated[train]]).astype(np.float64)
            mean, std = features.mean(axis=0), features.std(axis=0)
            # A feature that is constant but for rounding says nothing; scaled up it would seem to.
            scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-9 * np.abs(mean))
            classifier = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0)
            classifier.fit((features - mean) * scale, np.repeat([0, 1], len(train)))
            scores = [classifier.decision_function((rows[test] - mean) * scale) for rows in (real, generated)]
            folds.append(auc(scores[0], scores[1], weights[:, test]))
    return Estimate.bootstrapped((folds[0].value + folds[1].value) / 2, (folds[0].replicates + folds[1].replicates) / 2)
