"""What is measured: a measure is a function, and says which numbers it gives and which way each of them is better.

``on_images`` and ``on_codes`` register such functions; `measures` has all of them. An area under a ROC curve is best near what
real images score: one far below 0.5 tells the sets apart as well, as where images of the one set are twins of the other's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.crystals.dataset import DatasetSpec, Samples
from toycrystals.crystals.lattice import TYPES
from toycrystals.metrics.intervals import Estimate, Floats, Weights
from toycrystals.metrics.matching import Matched
from toycrystals.metrics.recovery import Recovered

Better = Literal["higher", "lower", "near"]
Group = Literal["truth", "distribution", "latent", "copying", "swap"]
# Measure's name and type (`ALL` for all of them) -> its value.
Measures = dict[tuple[str, str], Estimate]
ALL = "all"
# Declared before any result: does an image show what was asked for, and do the images together have the right distribution?
PRIMARY = ("matched_psnr", "mmd2_pca")
# Verdicts on a value: nothing tells it from that of real images; there was nothing to measure; no test could tell anything.
AT_FLOOR, NO_IMAGE, TOO_FEW = "at floor", "no valid image", "too few draws"


@dataclass(frozen=True)
class Measure:
    """`better`: higher, lower, or near what real images score. `group` says what it compares."""

    better: Better
    group: Group


@dataclass(frozen=True)
class JudgedImages:
    """N images, image i made for held-out condition i, and what several measures need of them.

    `unit` float32 [N, H, W] in [0, 1]; `found` the lattices that they show; `matched` how they compare with the exact image of
    their request, None where nothing was asked for; `features` and `real_features` [N, P] of these and of the held-out images,
    with the `bandwidths` of a kernel on them; `copy_distance` [N] to the nearest training image; `copies`, which of them are
    copies and of which that can be told ([N] each); `weights` [B, N] of the bootstrap; `neighbours` k of the manifold measures.
    """

    spec: DatasetSpec
    held_out: Samples
    unit: NDArray[np.float32]
    found: Recovered
    matched: Matched | None
    features: NDArray[np.float32]
    real_features: NDArray[np.float32]
    bandwidths: Floats
    copy_distance: Floats
    copies: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    weights: Weights
    neighbours: int


@dataclass(frozen=True)
class JudgedCodes:
    """Codes [N, D] of a prior, code i for held-out condition i, and held-out codes, `real_codes`, which every prior imitates.

    `joint` and `real_joint` [N, D + C]: both in the units of their condition, beside its features. `copies`, `weights` as of
    images; `types` [N] that were asked for, None where nothing was.
    """

    codes: NDArray[np.float32]
    real_codes: NDArray[np.float32]
    joint: NDArray[np.float32]
    real_joint: NDArray[np.float32]
    copies: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    types: NDArray[np.int64] | None
    weights: Weights


MEASURES: dict[str, Measure] = {}
_OnImages = Callable[[JudgedImages], Measures]
_OnCodes = Callable[[JudgedCodes], Measures]
_Function = TypeVar("_Function")
ON_IMAGES: list[_OnImages] = []
ON_CODES: list[_OnCodes] = []


def declare(group: Group, **better: Better) -> None:
    """Say which way numbers are better that no registered function gives."""
    MEASURES.update({name: Measure(way, group) for name, way in better.items()})


def on_images(group: Group, **better: Better) -> Callable[[_OnImages], _OnImages]:
    """Register a function of judged images that gives the measures named."""
    return _registered(ON_IMAGES, group, better)


def on_codes(group: Group, **better: Better) -> Callable[[_OnCodes], _OnCodes]:
    """Register a function of judged codes that gives the measures named."""
    return _registered(ON_CODES, group, better)


def _registered(functions: list[_Function], group: Group, better: dict[str, Better]) -> Callable[[_Function], _Function]:
    def register(function: _Function) -> _Function:
        declare(group, **better)
        functions.append(function)
        return function

    return register


def measured(functions: Sequence[Callable[[Any], Measures]], judged: JudgedImages | JudgedCodes) -> Measures:
    """All that registered functions give of what was judged."""
    return {key: estimate for measure in functions for key, estimate in measure(judged).items()}


def by_type(
    name: str, values: NDArray[np.generic], types: NDArray[np.int64] | None, weights: Weights, statistic: Callable[..., Estimate]
) -> Measures:
    """`statistic` of all `values` [N], and of those of each type where they have `types` [N]."""
    measures = {(name, ALL): statistic(values, weights)}
    for k in [] if types is None else np.unique(types):
        rows = types == k
        measures[name, TYPES[k]] = statistic(values[rows], weights[:, rows])
    return measures


def rows_of(method: str, measures: Measures) -> pd.DataFrame:
    """A row a measure and type of what was measured of a method, a control or a draw of real images."""
    rows = [(method, *key, *estimate[:3]) for key, estimate in measures.items()]
    return pd.DataFrame(rows, columns=["method", "metric", "type", "value", "low", "high"])
