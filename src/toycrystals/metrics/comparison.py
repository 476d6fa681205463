"""Methods side by side: each measure beside what real images score, and differences between methods with their tests."""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from toycrystals.metrics.catalogue import AT_FLOOR, HEADLINE, METRICS, NO_IMAGE, PRIMARY, Better
from toycrystals.metrics.intervals import Estimate, Floats, difference, sign_flip_tests
from toycrystals.metrics.mmd import mmd2_contrast
from toycrystals.metrics.truth import ALL, Measures

COLUMNS = ["method", "metric", "type", "value", "low", "high", "floor", "ceiling", "sd", "q95", "verdict"]


@dataclass(frozen=True)
class Floor:
    """What `n` fresh draws of the held-out conditions score: mean and standard deviation."""

    mean: float
    sd: float
    n: int

    def bounds(self, better: Better) -> tuple[float, float]:
        """Where one more draw lies with 95 %, by Student's prediction interval: one-sided, but where near is better."""
        level = 0.975 if better == "near" else 0.95
        reach = float(stdtrit(self.n - 1, level)) * self.sd * math.sqrt(1.0 + 1.0 / self.n)
        return (
            -math.inf if better == "lower" else self.mean - reach,
            math.inf if better == "higher" else self.mean + reach,
        )


def to_tensors(measures: Measures) -> tuple[dict[str, Tensor], dict[str, list[list[str]]]]:
    """Measures as tensors and JSON, for `from_tensors`; replicates that are missing become NaN."""
    width = max((len(estimate.replicates) for estimate in measures.values()), default=0)
    replicates = np.full((len(measures), width), np.nan)
    for row, estimate in zip(replicates, measures.values(), strict=True):
        row[: len(estimate.replicates)] = estimate.replicates
    ends = np.array([[e.value, e.low, e.high] for e in measures.values()], dtype=np.float64).reshape(-1, 3)
    return (
        {"estimates": torch.from_numpy(ends), "replicates": torch.from_numpy(replicates)},
        {"names": [list(key) for key in measures]},
    )


def from_tensors(tensors: Mapping[str, Tensor], meta: Mapping[str, list[list[str]]]) -> Measures:
    """The inverse of `to_tensors`."""
    measures: Measures = {}
    rows = zip(meta["names"], tensors["estimates"].tolist(), tensors["replicates"].numpy(), strict=True)
    for (metric, kind), (value, low, high), replicates in rows:
        known = np.flatnonzero(np.isfinite(replicates))
        measures[metric, kind] = Estimate(value, low, high, replicates[: known[-1] + 1 if len(known) else 0])
    return measures


def draw_values(draw: int, measures: Measures) -> pd.DataFrame:
    """The values of one draw of real images as rows (draw, metric, type, value)."""
    rows = [(draw, metric, kind, estimate.value) for (metric, kind), estimate in measures.items()]
    return pd.DataFrame(rows, columns=["draw", "metric", "type", "value"])


def from_rows(rows: pd.DataFrame) -> Measures:
    """Values without intervals from rows (metric, type, value)."""
    return {
        (str(metric), str(kind)): Estimate(float(value))
        for metric, kind, value in zip(rows["metric"], rows["type"], rows["value"], strict=True)
    }


def floors(draws: pd.DataFrame) -> dict[tuple[str, str], Floor]:
    """The floor of each measure from rows of `draw_values`; a measure without any finite value has none."""
    result = {}
    for (metric, kind), group in draws.dropna(subset="value").groupby(["metric", "type"], sort=False):
        values = group["value"].to_numpy()
        if len(values) > 1:
            result[str(metric), str(kind)] = Floor(float(values.mean()), float(values.std(ddof=1)), len(values))
    return result


def is_at_floor(estimate: Estimate, metric: str, floor: Floor) -> bool:
    """Whether a value could be that of one more draw of real images, or is better."""
    # Real images can score the same in every draw; then rounding must not decide.
    slack = 1e-9 * max(1.0, abs(floor.mean))
    low, high = floor.bounds(METRICS[metric].better)
    return low - slack <= estimate.value <= high + slack


def tidy(method: str, measures: Measures, floor: Mapping[tuple[str, str], Floor]) -> pd.DataFrame:
    """One row a measure and type, with the columns `COLUMNS`.

    `floor` is the mean of real images, called `ceiling` where higher is better; `sd` their deviation, and `q95` the end of what
    one more draw of them scores, on the worse side.
    """
    rows = []
    for (metric, kind), estimate in measures.items():
        row: list[object] = [method, metric, kind, *estimate[:3]]
        real = floor.get((metric, kind))
        if real is None:
            rows.append([*row, math.nan, math.nan, math.nan, math.nan, ""])
            continue
        higher = METRICS[metric].better == "higher"
        level = [math.nan, real.mean] if higher else [real.mean, math.nan]
        low, high = real.bounds(METRICS[metric].better)
        verdict = AT_FLOOR if is_at_floor(estimate, metric, real) else ""
        rows.append([*row, *level, real.sd, low if higher else high, verdict])
    table = pd.DataFrame(rows, columns=COLUMNS)
    valid = measures.get(("valid", ALL))
    if valid is not None and valid.value == 0.0:
        table["verdict"] = NO_IMAGE
    return table


def z_scores(table: pd.DataFrame) -> pd.DataFrame:
    """How many deviations of real images each method's overall value is worse than theirs: methods x metrics.

    Where real images never differ, a thousandth of the floor, or of 0.1 if that is larger, stands in for their deviation.
    """
    overall = table[(table["type"] == ALL) & table["sd"].notna()]
    real = overall["floor"].fillna(overall["ceiling"])
    signs = overall["metric"].map(lambda metric: {"lower": 1.0, "higher": -1.0, "near": math.nan}[METRICS[metric].better])
    away = overall["value"] - real
    worse = (away * signs).where(signs.notna(), away.abs())
    z = worse / overall["sd"].where(overall["sd"] > 0.0, 1e-3 * real.abs().clip(lower=0.1))
    return overall.assign(z=z).pivot_table(index="method", columns="metric", values="z", sort=False)


def compare_pairs(
    methods: Mapping[str, Measures],
    mse: Mapping[str, Floats],
    pca: Mapping[str, NDArray[np.float32]],
    real: NDArray[np.float32],
    bandwidths: Floats,
) -> pd.DataFrame:
    """Every pair of methods on the primary metrics: difference a - b, paired bootstrap interval, paired permutation test.

    Both tests swap the two methods' images on random conditions: `mse` [N] (of methods that answer requests) by the sum of the
    differences, `pca` [N, P] by MMD^2 to the `real` held-out images [N, P], which is linear in the swaps (`mmd2_contrast`).
    """
    rows, parts = [], []
    for metric, chosen in zip(PRIMARY, (mse, pca), strict=True):
        for a, b in itertools.combinations(chosen, 2):
            gap = difference(methods[a][metric, ALL], methods[b][metric, ALL])
            rows.append([metric, a, b, gap.value, gap.low, gap.high])
            parts.append(mse[a] - mse[b] if metric == PRIMARY[0] else mmd2_contrast(pca[a], pca[b], real, bandwidths))
    table = pd.DataFrame(rows, columns=["metric", "a", "b", "difference", "low", "high"])
    return table.assign(p=sign_flip_tests(np.stack(parts, axis=1)) if parts else [])


def headline(methods: Mapping[str, Measures], in_full: Collection[str]) -> dict[str, dict[str, float]]:
    """{short name: {method: number}} in four digits: the primary metrics of all methods, the others of those `in_full`."""
    return {
        name: {
            method: float(f"{measures[metric, ALL].value:.4g}")
            for method, measures in methods.items()
            if (metric in PRIMARY or method in in_full)
            and (metric, ALL) in measures
            and math.isfinite(measures[metric, ALL].value)
        }
        for name, metric in HEADLINE.items()
    }


def metrics_json(methods: Mapping[str, Measures]) -> dict[str, dict[str, float]]:
    """{method: {metric: number}}: overall values, and matched PSNR and type frequency by type as METRIC_TYPE.

    What has no value, such as the angle error of images without any lattice, is left out.
    """
    split = {"matched_psnr", "type_frequency"}
    return {
        method: {
            metric if kind == ALL else f"{metric}_{kind}": estimate.value
            for (metric, kind), estimate in measures.items()
            if (kind == ALL or metric in split) and math.isfinite(estimate.value)
        }
        for method, measures in methods.items()
    }
