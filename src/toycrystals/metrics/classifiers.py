"""How well a classifier tells generated from real: the area under the ROC curve on pairs that it was not trained on.

0.5 is chance and 1 a sure tell (classifier two-sample tests, Lopez-Paz and Oquab 2017). Rows i of both sets answer condition
i; both are in one fold, so that no classifier is tested on a condition whose other answer it has seen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn

from toycrystals.metrics.distribution import check_paired
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.rng import SHUFFLE, make_generator, seed_initialisation

Array = NDArray[np.floating]
Images = NDArray[np.uint8]
Rows = NDArray[np.intp]
_STEPS, _PAIRS, _LEARNING_RATE, _CHANNELS = 200, 32, 3e-3, 32
_PATCH = 4
_TEST_BATCH = 256


def auc(scores_real: Array, scores_generated: Array, weights: Weights) -> Estimate:
    """The chance that a generated row scores above a real one, [n] each; ties count half.

    `weights` [B, n] serve both sets.
    """
    check_paired(scores_real, scores_generated)
    n = len(scores_real)
    if n == 0:
        return Estimate(np.nan)
    weights = np.concatenate([np.ones((1, n), dtype=np.float32), weights])
    order_real, order_generated = np.argsort(scores_real, kind="stable"), np.argsort(scores_generated, kind="stable")
    ordered_real, ordered_generated = scores_real[order_real], scores_generated[order_generated]
    below = np.zeros((len(weights), n + 1), dtype=np.float32)  # whole numbers, so exact
    np.cumsum(weights.take(order_real, axis=1), axis=1, out=below[:, 1:])
    wins = below.take(np.searchsorted(ordered_real, ordered_generated, "left"), axis=1)
    wins += below.take(np.searchsorted(ordered_real, ordered_generated, "right"), axis=1)
    area = 0.5 * np.einsum("bj,bj->b", weights.take(order_generated, axis=1), wins, dtype=np.float64)
    pairs = below[:, -1].astype(np.float64) ** 2
    values = np.divide(area, pairs, out=np.full(len(area), area[0] / pairs[0]), where=pairs > 0)
    return Estimate.bootstrapped(values[0], values[1:])


def linear_auc(real: Array, generated: Array, weights: Weights) -> Estimate:
    """The AUC of logistic regression on features [n, D]: it sees a shift of the mean, and nothing that keeps the mean."""
    return _crossfit_auc(real, generated, weights, lambda: LogisticRegression(solver="newton-cholesky"))


def boosted_auc(real: Array, generated: Array, weights: Weights) -> Estimate:
    """The AUC of gradient-boosted trees on features [n, D], which see spread, gaps and dependence too; n of hundreds at least.

    Leaves hold 20 rows, so that fewer than 20 pairs are at chance.
    """
    # One thread: at this size a second gains a quarter, and beside another busy process costs thirty times as much.
    with threadpool_limits(limits=1, user_api="openmp"):
        return _crossfit_auc(
            real, generated, weights, lambda: HistGradientBoostingClassifier(early_stopping=False, random_state=0)
        )


def _crossfit_auc(real: Array, generated: Array, weights: Weights, make_classifier: Callable[[], Any]) -> Estimate:
    """The mean AUC of two folds, each scored by a classifier that was fitted to the other: scores are compared in a fold only."""
    check_paired(real, generated)
    if len(real) < 2:
        return Estimate(np.nan)
    first, second = _halves(len(real))
    estimates = []
    for train, test in ((first, second), (second, first)):
        features = np.concatenate([real[train], generated[train]]).astype(np.float64)
        mean, std = features.mean(axis=0), features.std(axis=0)
        # A feature that is constant but for rounding says nothing; scaled up it would seem to.
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-9 * np.abs(mean))
        classifier = make_classifier()
        classifier.fit((features - mean) * scale, np.repeat([0, 1], len(train)))
        scores = [classifier.decision_function((rows[test] - mean) * scale) for rows in (real, generated)]
        estimates.append(auc(scores[0], scores[1], weights[:, test]))
    replicates: Floats = np.mean([estimate.replicates for estimate in estimates], axis=0)
    return Estimate.bootstrapped(float(np.mean([estimate.value for estimate in estimates])), replicates)


def _halves(n: int) -> tuple[Rows, Rows]:
    """Two halves of n rows, drawn: the list of conditions may go through the types in turn."""
    rows = np.random.default_rng(n).permutation(n)
    return np.sort(rows[: n // 2]), np.sort(rows[n // 2 :])


def cnn_auc(real: Images, generated: Images, weights: Weights, seed: int = 0) -> Estimate:
    """The AUC of a small convolutional network on images uint8 [n, 1, H, W], trained on half of the pairs, tested on the rest.

    It keeps positions, so that it sees a shift of one pixel, and a blur of one. The number of steps is fixed. The same number
    of torch threads gives the same value; the global generator is left as it was.
    """
    check_paired(real, generated)
    if len(real) < 2:
        return Estimate(np.nan)
    train, test = _halves(len(real))
    mean, std = float(real[train].mean(dtype=np.float64)), max(float(real[train].std(dtype=np.float64)), 1.0)
    sets = torch.from_numpy(np.stack([_padded(real), _padded(generated)]))  # (2, n, 1, H, W)

    def batch(rows: Rows) -> Tensor:
        return (sets[:, torch.from_numpy(rows)].flatten(0, 1).float() - mean) / std

    network = _trained(lambda drawn: batch(train[drawn]), len(train), seed)
    # One product for both sets could round equal images differently by their place in it, and break ties.
    scores: list[list[Floats]] = [[], []]
    with torch.no_grad():
        for start in range(0, len(test), _TEST_BATCH):
            for images, found in zip(batch(test[start : start + _TEST_BATCH]).chunk(2), scores, strict=True):
                found.append(network(images)[:, 0].double().numpy())
    return auc(np.concatenate(scores[0]), np.concatenate(scores[1]), weights[:, test])


def _trained(batch: Callable[[Rows], Tensor], n: int, seed: int) -> nn.Sequential:
    """The network after `_STEPS` batches of `_PAIRS` of the n pairs: `batch` gives real images, then generated ones."""
    draws = torch.randint(n, (_STEPS, _PAIRS), generator=make_generator(seed, SHUFFLE)).numpy()
    with torch.random.fork_rng(devices=[]):
        seed_initialisation(seed)
        height, width = batch(draws[0]).shape[2:]
        network = _network(height, width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS, pct_start=0.2)
    is_generated = torch.arange(2 * _PAIRS).ge(_PAIRS).float()
    for rows in draws:
        loss = F.binary_cross_entropy_with_logits(network(batch(rows))[:, 0], is_generated)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network


def _padded(images: Images) -> Images:
    """With black rows and columns up to whole patches."""
    height, width = images.shape[2:]
    return np.pad(images, ((0, 0), (0, 0), (0, -height % _PATCH), (0, -width % _PATCH)))


def _network(height: int, width: int) -> nn.Sequential:
    """Images [B, 1, H, W] -> logits [B, 1]."""
    kept = [min(8, -(-size // (2 * _PATCH))) for size in (height, width)]
    return nn.Sequential(
        nn.PixelUnshuffle(_PATCH),
        nn.Conv2d(_PATCH**2, _CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((kept[0], kept[1])),
        nn.Flatten(),
        nn.Linear(_CHANNELS * kept[0] * kept[1], 1),
    )
