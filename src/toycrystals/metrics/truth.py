"""Ground truth from images alone: what was recovered, against what was asked for and against the factors of the data."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.dataset import FACTORS, VARIANTS, Samples, VariantName, exact_images
from toycrystals.lattice import LATTICES, TYPES
from toycrystals.metrics.distribution import circular_wasserstein1, wasserstein1
from toycrystals.metrics.fidelity import correlation, ssim
from toycrystals.metrics.intervals import Estimate, Floats, Weights, mean, quantile, share
from toycrystals.metrics.matching import match_requested, psnr
from toycrystals.metrics.recovery import REASONS, Recovered

# Measure's name and type ("all" for all of them) -> its value.
Measures = dict[tuple[str, str], Estimate]
ALL = "all"
# A rectangular lattice whose aspect is this near to 1 cannot be told from a square one on 64 pixels.
NEAR_SQUARE = 0.02
_SQUARE, _RECTANGULAR = TYPES.index("square"), TYPES.index("rectangular")
_PERIODS = np.array([lattice.period for lattice in LATTICES])


def answers_type(asked: NDArray[np.int64], found: Recovered) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each image is a lattice of the type that was asked for: strictly, and with near-squares merged; [N] each.

    A square lattice is a rectangular one of aspect 1, and a rectangular lattice of aspect near 1 is a square one.
    """
    lattice = found.reason == 0
    strict = lattice & (found.type == asked)
    near_square = np.abs(found.aspect - 1.0) <= NEAR_SQUARE
    swapped = (asked == _RECTANGULAR) & (found.type == _SQUARE)
    swapped |= (asked == _SQUARE) & (found.type == _RECTANGULAR) & near_square
    return strict, strict | (lattice & swapped)


def theta_error(asked_type: NDArray[np.int64], asked_theta: Floats, found: Recovered) -> Floats:
    """Degrees between the angle that was asked for and that of the best lattice of the type that was asked for: [N].

    Modulo the type's period, and modulo 90 degrees where a rectangular lattice is a square one. An image that is no lattice has
    the largest error that its type can have, half a period: it must not improve the figure by dropping out of it.
    """
    period = _PERIODS[asked_type]
    near_square = np.abs(found.asked_aspect - 1.0) <= NEAR_SQUARE
    period = np.where((asked_type == _RECTANGULAR) & near_square, math.pi / 2, period)
    error = np.abs(np.mod(found.asked_theta - asked_theta + period / 2, period) - period / 2)
    return np.rad2deg(np.where(found.reason == 0, error, _PERIODS[asked_type] / 2))


def image_table(
    images: NDArray[np.float32], held_out: Samples, found: Recovered, variant: VariantName, aspect_step: float, answers: bool
) -> pd.DataFrame:
    """One row an image [N, H, W] made for the condition of held-out sample i: what was asked for, what was found.

    Angles in degrees. Without `answers` nothing was asked for, and only what was found is there.
    """
    factors = held_out.factors.astype(np.float64)
    named = dict(zip(FACTORS, factors.T, strict=True))
    table = pd.DataFrame(
        {
            "found_type": np.array(TYPES)[found.type],
            "found_theta": np.rad2deg(found.theta),
            "found_spacing": found.spacing,
            "found_aspect": found.aspect,
            "found_vacancy": found.vacancy,
            "ncc": found.ncc,
            "reason": np.array(REASONS)[found.reason],
        }
    )
    if not answers:
        return table
    asked = pd.DataFrame(
        {
            "asked_type": np.array(TYPES)[held_out.type],
            "asked_theta": np.rad2deg(named["theta"]),
            "asked_spacing": named["spacing"],
            "asked_vacancy": named["vacancy"],
            "true_aspect": named["aspect"],
        }
    )
    matched = match_requested(images, held_out.type, named["spacing"], named["theta"], aspect_step)
    exact = np.empty_like(images)
    for k in np.unique(held_out.type):
        rows = held_out.type == k
        exact[rows] = exact_images(int(k), named["spacing"][rows], named["theta"][rows], matched.aspect[rows], images.shape[-1])
    strict, merged = answers_type(held_out.type, found)
    table["matched_aspect"], table["mse"] = matched.aspect, matched.mse
    table["correlation"], table["ssim"] = correlation(images, exact), ssim(images, exact)
    table["right_type"], table["right_type_merged"] = strict, merged
    table["theta_error"] = theta_error(held_out.type, named["theta"], found)
    # An image that is no lattice misses by as much as can be.
    lattice = found.reason == 0
    if _varies(variant, "spacing"):
        low, high = VARIANTS[variant].spacing
        table["spacing_error"] = np.where(lattice, np.abs(found.asked_spacing / named["spacing"] - 1.0), high / low - 1.0)
    if _varies(variant, "vacancy"):
        table["vacancy_error"] = np.where(lattice, np.abs(found.vacancy - named["vacancy"]), 1.0)
    return pd.concat([asked, table], axis=1)


def _varies(variant: VariantName, factor: str) -> bool:
    low, high = getattr(VARIANTS[variant], factor)
    return bool(low < high)


def request_measures(table: pd.DataFrame, types: NDArray[np.int64], weights: Weights) -> Measures:
    """How well the images of `image_table` answer their requests, for all of them and by requested type [N]."""
    statistics: dict[str, tuple[str, Callable[..., Estimate]]] = {
        "matched_psnr": ("mse", mean_psnr),
        "matched_correlation": ("correlation", mean),
        "matched_ssim": ("ssim", mean),
        "type_accuracy": ("right_type", share),
        "type_accuracy_merged": ("right_type_merged", share),
        "theta_error_median": ("theta_error", lambda values, weights: quantile(values, 0.5, weights)),
        "theta_error_p95": ("theta_error", lambda values, weights: quantile(values, 0.95, weights)),
        "spacing_error_median": ("spacing_error", lambda values, weights: quantile(values, 0.5, weights)),
        "vacancy_error_mean": ("vacancy_error", mean),
    }
    measures: Measures = {}
    for name, (column, statistic) in statistics.items():
        if column in table:
            measures |= by_type(name, table[column].to_numpy(), types, weights, statistic)
    return measures


def mean_psnr(mse: Floats, weights: Weights) -> Estimate:
    """Peak signal-to-noise ratio in dB of the mean of the squared errors [N]."""
    average = mean(mse, weights)
    return Estimate.bootstrapped(psnr(average.value), np.array([psnr(value) for value in average.replicates]))


def by_type(
    name: str, values: NDArray[np.generic], types: NDArray[np.int64], weights: Weights, statistic: Callable[..., Estimate]
) -> Measures:
    """`statistic` of all `values` [N], and of those of each type."""
    measures = {(name, ALL): statistic(values, weights)}
    for k in np.unique(types):
        rows = types == k
        measures[name, TYPES[k]] = statistic(values[rows], weights[:, rows])
    return measures


def copy_measures(
    name: str, copies: NDArray[np.bool_], testable: NDArray[np.bool_], types: NDArray[np.int64], weights: Weights
) -> Measures:
    """The share of `copies` [N], all in all and by type [N], among the rows where a copy can be told (see `copying.close`)."""
    return by_type(name, copies[testable], types[testable], weights[:, testable], share)


def population_measures(
    found: Recovered, held_out: Samples, variant: VariantName, weights: Weights, *, answers: bool
) -> Measures:
    """What kinds of lattices the images are, whatever was asked for: validity, type frequencies, distributions of the factors.

    The rows of `reason` have one of `REASONS` in place of a type.

    With `answers`, the aspects that rectangular requests were given are compared with the true ones, too.
    """
    valid = found.reason == 0
    types = held_out.type
    measures = by_type("valid", valid, types, weights, share) | by_type("nearest_ncc", found.ncc, types, weights, mean)
    measures |= {("reason", name): share(found.reason == code, weights) for code, name in enumerate(REASONS)}
    present = np.unique(types)
    frequencies = {k: share(valid & (found.type == k), weights) for k in present}
    measures |= {("type_frequency", TYPES[k]): frequency for k, frequency in frequencies.items()}
    truth = {k: float(np.mean(types == k)) for k in present}
    variation = sum(np.abs(frequencies[k].replicates - truth[k]) for k in present) / 2
    value = sum(abs(frequencies[k].value - truth[k]) for k in present) / 2
    # What is no lattice, or of a type that the data lack, has no share in the data.
    missing = 1.0 - sum(frequency.value for frequency in frequencies.values())
    measures["type_tv", ALL] = Estimate.bootstrapped(value + missing / 2, np.asarray(variation) + missing / 2)
    if answers:
        asked = types == _RECTANGULAR
        if asked.any():
            truth_there = held_out.factors[asked, 4].astype(np.float64)
            # No lattice has no aspect: the end of the range that is farther from the truth stands for it.
            farthest = np.where(truth_there > 1.0, *LATTICES[_RECTANGULAR].aspect_range)
            aspects = np.where(valid[asked], found.asked_aspect[asked], farthest)
            measures["aspect_w1", ALL] = wasserstein1(aspects, truth_there, weights[:, asked])
    return measures | _factor_distances(found, held_out, variant, weights)


def _factor_distances(found: Recovered, held_out: Samples, variant: VariantName, weights: Weights) -> Measures:
    """Distances between the factors of the lattices found and the true ones, type by type."""
    measures: Measures = {}
    columns = {"spacing": found.spacing, "vacancy": found.vacancy, "aspect": found.aspect}
    for k in np.unique(held_out.type):
        there, here = held_out.type == k, (found.reason == 0) & (found.type == k)
        if not here.any():
            continue
        sides = weights[:, here], weights[:, there]
        if _varies(variant, "theta"):
            true_theta = held_out.factors[there, 1].astype(np.float64)
            distance = circular_wasserstein1(found.theta[here], true_theta, LATTICES[k].period, *sides)
            measures["found_theta_w1", TYPES[k]] = _scaled(distance, 180.0 / math.pi)
        for name, values in columns.items():
            if LATTICES[k].has_aspect if name == "aspect" else _varies(variant, name):
                truth = held_out.factors[there, FACTORS.index(name)].astype(np.float64)
                measures[f"found_{name}_w1", TYPES[k]] = wasserstein1(values[here], truth, *sides)
    return measures


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    value, low, high, replicates = estimate
    return Estimate(value * factor, low * factor, high * factor, replicates * factor)


def confusion(asked: NDArray[np.int64], found: Recovered, n_types: int) -> NDArray[np.int64]:
    """Counts [2, T, T + 1]: rows are the types asked for, columns the types found; the last column is no lattice.

    First strictly, then with near-squares merged: those that answer their request count as the type that was asked for.
    """
    columns = np.where(found.reason == 0, found.type, n_types)
    _, merged = answers_type(asked, found)
    counts = np.zeros((2, n_types, n_types + 1), dtype=np.int64)
    np.add.at(counts[0], (asked, columns), 1)
    np.add.at(counts[1], (asked, np.where(merged, asked, columns)), 1)
    return counts


def swap_measures(found: Recovered, code: Samples, decoder: Samples, weights: Weights) -> Measures:
    """Whom images obey that were decoded from the codes of one condition under another: the decoder's condition or the code's.

    `found` was recovered with the decoder's types asked for. Types are compared where the two conditions differ in type, angles
    are compared where the type is the decoder's (`swap_decoder_theta`) or the code's (`swap_code_theta`).
    """
    lattice, differ = found.reason == 0, code.type != decoder.type
    measures: Measures = {}
    for name, samples in (("decoder", decoder), ("code", code)):
        right = lattice & (found.type == samples.type)
        measures[f"swap_{name}_type", ALL] = share(right[differ], weights[:, differ])
        difference = found.theta - samples.factors[:, 1].astype(np.float64)
        period = _PERIODS[samples.type]
        error = np.abs(np.mod(difference + period / 2, period) - period / 2)
        measures[f"swap_{name}_theta", ALL] = quantile(np.rad2deg(np.where(right, error, np.nan)), 0.5, weights)
    return measures
