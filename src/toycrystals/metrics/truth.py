"""Ground truth from images alone: what was recovered, against what was asked for and against the factors of the data."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.crystals.dataset import Samples
from toycrystals.crystals.lattice import LATTICES, TYPES, wrapped
from toycrystals.crystals.variants import FACTORS, VARIANTS
from toycrystals.metrics.base import ALL, JudgedImages, Measures, by_type, declare, on_images
from toycrystals.metrics.distribution import wasserstein1
from toycrystals.metrics.intervals import Estimate, Floats, Weights, mean, quantile, share
from toycrystals.metrics.matching import psnr
from toycrystals.metrics.recovery import REASONS, Recovered

# A rectangular lattice whose aspect is this near to 1 cannot be told from a square one on 64 pixels.
NEAR_SQUARE = 0.02
_SQUARE, _RECTANGULAR = TYPES.index("square"), TYPES.index("rectangular")
_PERIODS = np.array([lattice.period for lattice in LATTICES])


def answers_type(asked: NDArray[np.int64], found: Recovered) -> NDArray[np.bool_]:
    """Whether each image is a lattice of the type that was asked for [N], near-squares merged.

    A square lattice is a rectangular one of aspect 1, and a rectangular lattice of aspect near 1 is a square one.
    """
    near_square = np.abs(found.aspect - 1.0) <= NEAR_SQUARE
    swapped = (asked == _RECTANGULAR) & (found.type == _SQUARE)
    swapped |= (asked == _SQUARE) & (found.type == _RECTANGULAR) & near_square
    return np.asarray((found.reason == 0) & ((found.type == asked) | swapped))


def theta_error(asked_type: NDArray[np.int64], asked_theta: Floats, found: Recovered) -> Floats:
    """Degrees between the angle that was asked for and that of the best lattice of the type that was asked for: [N].

    Modulo the type's period, and modulo 90 degrees where a rectangular lattice is a square one. An image that is no lattice has
    the largest error that its type can have, half a period: it must not improve the figure by dropping out of it.
    """
    period = _PERIODS[asked_type]
    near_square = np.abs(found.asked_aspect - 1.0) <= NEAR_SQUARE
    period = np.where((asked_type == _RECTANGULAR) & near_square, math.pi / 2, period)
    error = np.abs(wrapped(found.asked_theta - asked_theta, period))
    return np.rad2deg(np.where(found.reason == 0, error, _PERIODS[asked_type] / 2))


def image_table(judged: JudgedImages) -> pd.DataFrame:
    """One row an image: what was found and, if something was asked for, what that was. Angles in degrees."""
    found, held_out = judged.found, judged.held_out
    asked = {f"asked_{name}": column for name, column in zip(FACTORS, held_out.factors.T.astype(np.float64), strict=True)}
    asked |= {"asked_theta": np.rad2deg(asked["asked_theta"]), "asked_type": np.array(TYPES)[held_out.type]}
    shown = {
        "found_type": np.array(TYPES)[found.type],
        "found_theta": np.rad2deg(found.theta),
        "found_spacing": found.spacing,
        "found_aspect": found.aspect,
        "found_vacancy": found.vacancy,
        "ncc": found.ncc,
        "reason": np.array(REASONS)[found.reason],
    }
    return pd.DataFrame({**(asked if judged.matched else {}), **shown, **_answers(judged), "copy_distance": judged.copy_distance})


def _answers(judged: JudgedImages) -> dict[str, NDArray[Any]]:
    """How each image answers its request; one that is no lattice misses by as much as can be."""
    found, types, matched = judged.found, judged.held_out.type, judged.matched
    spacing, theta, vacancy = judged.held_out.factors.astype(np.float64).T[:3]
    if matched is None:
        return {}
    answers = {
        "matched_aspect": matched.aspect,
        "mse": matched.mse,
        "right_type_merged": answers_type(types, found),
        "theta_error": theta_error(types, theta, found),
    }
    lattice = found.reason == 0
    if _varies(judged.spec.variant, "spacing"):
        low, high = VARIANTS[judged.spec.variant].spacing
        answers["spacing_error"] = np.where(lattice, np.abs(found.asked_spacing / spacing - 1.0), high / low - 1.0)
    if _varies(judged.spec.variant, "vacancy"):
        answers["vacancy_error"] = np.where(lattice, np.abs(found.vacancy - vacancy), 1.0)
    return answers


def _varies(variant: str, factor: str) -> bool:
    low, high = getattr(VARIANTS[variant], factor)
    return bool(low < high)


def mean_psnr(mse: Floats, weights: Weights) -> Estimate:
    """Peak signal-to-noise ratio in dB of the mean of the squared errors [N]."""
    average = mean(mse, weights)
    return Estimate.bootstrapped(psnr(average.value), np.array([psnr(value) for value in average.replicates]))


# Of a column of answers: the measures that are taken.
_REQUESTS: dict[str, dict[str, Callable[..., Estimate]]] = {
    "mse": {"matched_psnr": mean_psnr},
    "right_type_merged": {"type_accuracy_merged": share},
    "theta_error": {"theta_error_median": partial(quantile, q=0.5), "theta_error_p95": partial(quantile, q=0.95)},
    "spacing_error": {"spacing_error_median": partial(quantile, q=0.5)},
    "vacancy_error": {"vacancy_error_mean": mean},
}


@on_images(
    "truth", matched_psnr="near", type_accuracy_merged="higher", theta_error_median="lower", theta_error_p95="lower",
    spacing_error_median="lower", vacancy_error_mean="lower",
)  # fmt: skip
def request_measures(judged: JudgedImages) -> Measures:
    """How well the images answer their requests, for all of them and by requested type."""
    measures: Measures = {}
    for column, values in _answers(judged).items():
        for name, statistic in _REQUESTS.get(column, {}).items():
            measures |= by_type(name, values, judged.held_out.type, judged.weights, statistic)
    return measures


@on_images("copying", copy_image="near")
def copies_of_images(judged: JudgedImages) -> Measures:
    """The share of images that are close to a training image."""
    types = judged.held_out.type if judged.matched else None
    return copy_measures("copy_image", judged.copies, types, judged.weights)


def copy_measures(
    name: str, copies: tuple[NDArray[np.bool_], NDArray[np.bool_]], types: NDArray[np.int64] | None, weights: Weights
) -> Measures:
    """The share of copies, all in all and by type [N], among the rows where a copy can be told (see `copying.close`)."""
    close, testable = copies
    return by_type(name, close[testable], None if types is None else types[testable], weights[:, testable], share)


@on_images("truth", valid="higher", nearest_ncc="higher", reason="near", type_frequency="near", type_tv="lower")
def population_measures(judged: JudgedImages) -> Measures:
    """What kinds of lattices the images are, whatever was asked for; the rows of `reason` have one of `REASONS` as type."""
    found, types, weights = judged.found, judged.held_out.type, judged.weights
    valid, present = found.reason == 0, np.unique(types)
    measures = by_type("valid", valid, types, weights, share) | by_type("nearest_ncc", found.ncc, types, weights, mean)
    measures |= {("reason", name): share(found.reason == code, weights) for code, name in enumerate(REASONS)}
    frequencies = [share(valid & (found.type == k), weights) for k in present]
    measures |= {("type_frequency", TYPES[k]): frequency for k, frequency in zip(present, frequencies, strict=True)}
    # [1 + B, types]: the frequencies, and those of each replicate.
    frequency = np.stack([np.append(one.value, one.replicates) for one in frequencies], axis=1)
    variation = np.abs(frequency - np.mean(types[:, None] == present, axis=0)).sum(axis=1)
    # What is no lattice, or of a type that the data lack, has no share in the data.
    variation += 1.0 - frequency[0].sum()
    measures["type_tv", ALL] = Estimate.bootstrapped(variation[0] / 2, variation[1:] / 2)
    return measures


@on_images("truth", aspect_w1="lower")
def aspect_measures(judged: JudgedImages) -> Measures:
    """The distance between the aspects that rectangular requests were given and the true ones."""
    asked = judged.held_out.type == _RECTANGULAR
    if judged.matched is None or not asked.any():
        return {}
    truth, found = judged.held_out.factors[asked, 4].astype(np.float64), judged.found
    # No lattice has no aspect: the end of the range that is farther from the truth stands for it.
    farthest = np.where(truth > 1.0, *LATTICES[_RECTANGULAR].aspect_range)
    aspects = np.where(found.reason[asked] == 0, found.asked_aspect[asked], farthest)
    return {("aspect_w1", ALL): wasserstein1(aspects, truth, judged.weights[:, asked])}


@on_images("truth", found_theta_w1="lower", found_aspect_w1="lower", found_spacing_w1="lower", found_vacancy_w1="lower")
def factor_measures(judged: JudgedImages) -> Measures:
    """Distances between the factors of the lattices found and the true ones, type by type."""
    found, held_out, weights = judged.found, judged.held_out, judged.weights
    measures: Measures = {}
    columns = {"theta": np.rad2deg(found.theta), "aspect": found.aspect, "spacing": found.spacing, "vacancy": found.vacancy}
    for k in np.unique(held_out.type):
        there, here = held_out.type == k, (found.reason == 0) & (found.type == k)
        for name, values in columns.items():
            varies = LATTICES[k].has_aspect if name == "aspect" else _varies(judged.spec.variant, name)
            if not varies or not here.any():
                continue
            truth, period = held_out.factors[there, FACTORS.index(name)].astype(np.float64), None
            if name == "theta":
                truth, period = np.rad2deg(truth), math.degrees(LATTICES[k].period)
            distance = wasserstein1(values[here], truth, weights[:, here], weights[:, there], period)
            measures[f"found_{name}_w1", TYPES[k]] = distance
    return measures


declare("swap", swap_decoder_type="near", swap_code_type="near")


def swap_measures(found: Recovered, code: Samples, decoder: Samples, weights: Weights) -> Measures:
    """Whom images obey that were decoded from the codes of one condition under another: the decoder's condition or the code's.

    Types are compared where the two conditions differ in type.
    """
    lattice, differ = found.reason == 0, code.type != decoder.type
    return {
        (f"swap_{name}_type", ALL): share((lattice & (found.type == samples.type))[differ], weights[:, differ])
        for name, samples in (("decoder", decoder), ("code", code))
    }
