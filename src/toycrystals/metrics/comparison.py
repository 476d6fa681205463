"""Methods side by side: each measure beside what real images score, and differences between methods with their tests.

Every method is drawn several times. All tables have rows (method, metric, type, value, ...), as `base.rows_of` makes them, those
of single draws with a column `draw`.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.metrics.base import ALL, AT_FLOOR, NO_IMAGE, PRIMARY, TOO_FEW, Measures, rows_of
from toycrystals.metrics.intervals import (
    LEVEL,
    Estimate,
    Floats,
    averaged,
    difference,
    holm,
    redraw_test,
    sign_flip_test,
    subset_means,
)
from toycrystals.metrics.measures import MEASURES
from toycrystals.metrics.mmd import mmd2_contrasts

# What `dvc exp show` and `dvc metrics diff` have a column of, under names that leave room for the numbers.
HEADLINE = {
    "psnr": "matched_psnr",
    "mmd2": "mmd2_pca",
    "ncc": "nearest_ncc",
    "auc": "latent_auc_boosted",
    "copied": "copy_code",
    "rate": "rate",
}
COLUMNS = ["method", "metric", "type", "value", "low", "high", "floor", "ceiling", "sd", "q95", "p", "p_holm", "verdict"]
# What pairs of methods are compared by.
PAIRED = (*PRIMARY, "rate")
_KEYS = ["metric", "type"]


def merged(draws: Sequence[Measures]) -> Measures:
    """The measures of a method from those of its draws: their means, NaN of what was not measured in all of them."""
    keys = dict.fromkeys(key for draw in draws for key in draw)
    return {key: averaged([draw.get(key, Estimate(np.nan)) for draw in draws]) for key in keys}


def tidy(method: str, draws: Sequence[Measures], floor: pd.DataFrame) -> pd.DataFrame:
    """The measures of a method's draws beside those of real images, with the columns `COLUMNS`.

    `floor` has the rows of fresh draws of real images for the same conditions, with a column `draw`; it may have none. Of these,
    `floor` (`ceiling` where higher is better) is the mean, `sd` the deviation, and `q95` what the mean of as many real draws
    exceeds in one case of twenty on the worse side, on that of the value where near is better. p is that of `redraw_test`, p_holm
    is `corrected`, and the verdict says where that is 0.05 or more: the measure does not tell these draws from real ones.
    """
    table = rows_of(method, merged(draws)).set_index(_KEYS, drop=False).rename_axis([None, None])
    columns = {key: [draw[key].value if key in draw else np.nan for draw in draws] for key in table.index}
    real = (
        floor.pivot_table(index="draw", columns=_KEYS, values="value", sort=False, dropna=False) if len(floor) else pd.DataFrame()
    )
    judged = [key for key in table.index if key in real.columns and np.isfinite([*columns[key], *real[key]]).all()]
    blank = dict.fromkeys(["floor", "ceiling", "sd", "q95", "p", "p_holm"], np.nan)
    table = table.assign(**blank, verdict="").reindex(columns=COLUMNS)
    if judged:
        better = np.array([MEASURES[metric].better for metric, _ in judged])
        near, sign = better == "near", np.where(better == "higher", -1.0, 1.0)
        values, redrawn = np.array([columns[key] for key in judged]).T, real[judged].to_numpy()
        mean = redrawn.mean(axis=0)
        side = np.where(near, np.where(values.mean(axis=0) < mean, -1.0, 1.0), sign)
        # What the mean of as many real draws scores.
        away = subset_means(redrawn - mean, len(values))
        away = np.where(near, np.abs(away), side * away)
        p = redraw_test(sign * values, sign * redrawn, two_sided=near)
        p_holm, able = corrected(p, np.concatenate([values, redrawn]), np.where(near, 0.0, sign), len(values))
        # Draws that never differ have no deviation; that of rounding is none.
        sd = np.where(np.ptp(redrawn, axis=0) > 0, redrawn.std(axis=0, ddof=1), 0.0)
        found = {
            "floor": np.where(better == "higher", np.nan, mean), "ceiling": np.where(better == "higher", mean, np.nan), "sd": sd,
            "q95": mean + side * np.quantile(away, LEVEL, axis=0, method="higher"), "p": p,
            "p_holm": p_holm,
        }  # fmt: skip
        for name, numbers in found.items():
            table.loc[judged, name] = numbers
        table.loc[judged, "verdict"] = np.where(p_holm >= 1 - LEVEL, AT_FLOOR, "") if able else TOO_FEW
    if ("valid", ALL) in table.index and table.loc[("valid", ALL), "value"] == 0.0:
        table["verdict"] = NO_IMAGE
    return table.reset_index(drop=True)


def corrected(p_values: Floats, pooled: Floats, sides: Floats, draws: int) -> tuple[Floats, bool]:
    """Holm's correction of p [K] of the tests of a method's draws, whose numbers with those of real draws are `pooled` [n, K].

    What never differs is no test, and what is the same numbers with the same side [K] to them is the same test: neither counts.
    The second value says whether the least p that so many draws can have would be told after this correction.
    """
    _, first, same = np.unique(np.vstack([pooled, sides]), axis=1, return_index=True, return_inverse=True)
    tested = np.ptp(pooled[:, first], axis=0) > 0.0
    found = holm(np.where(tested, p_values[first], np.nan))
    able = bool(tested.sum() < (1 - LEVEL) * math.comb(len(pooled), draws))
    return np.asarray(np.where(tested, found, 1.0)[same.ravel()]), able


def z_scores(table: pd.DataFrame) -> pd.DataFrame:
    """How many deviations of real images each method's overall value is worse than theirs: methods x metrics.

    Where real images never differ, a thousandth of the floor, or of 0.1 if that is larger, stands in for their deviation.
    """
    overall = table[(table["type"] == ALL) & table["sd"].notna()]
    real = overall["floor"].fillna(overall["ceiling"])
    signs = overall["metric"].map(lambda metric: {"lower": 1.0, "higher": -1.0, "near": np.nan}[MEASURES[metric].better])
    away = overall["value"] - real
    worse = (away * signs).where(signs.notna(), away.abs())
    z = worse / overall["sd"].where(overall["sd"] > 0.0, 1e-3 * real.abs().clip(lower=0.1))
    scores = overall.assign(z=z).pivot_table(index="method", columns="metric", values="z", sort=False)
    return scores[[name for name in MEASURES if name in scores.columns]]


def compare_pairs(
    methods: Mapping[str, Measures], parts: Mapping[str, Mapping[str, Floats]], pca: Mapping[str, Sequence[NDArray[np.float32]]],
    real: NDArray[np.float32], bandwidths: Floats,
) -> pd.DataFrame:  # fmt: skip
    """Every pair of methods on the metrics `PAIRED`: difference a - b, 95 % interval, paired permutation test.

    The test swaps two methods on random conditions. What `parts` has of a metric, {method: [N]}, are numbers whose mean tells it:
    the squared errors of images, -log p of codes. MMD^2 to the `real` held-out images is linear in swaps of the features `pca`,
    [N, P] of each draw (`mmd2_contrasts`): all draws of a condition are swapped together. Intervals are of the paired bootstrap;
    of MMD^2, which is degenerate, what the permutation test would not tell from the difference, and none where it tells the two
    apart, for its width holds where they are alike. p_holm corrects p for the number of all these tests.
    """
    of_draws = [mmd2_contrasts(dict(zip(pca, sets, strict=True)), real, bandwidths) for sets in zip(*pca.values(), strict=True)]
    contributions = {"mmd2_pca": {pair: np.mean([draw[pair] for draw in of_draws], axis=0) for pair in of_draws[0]}} | {
        metric: {(a, b): of[a] - of[b] for a, b in itertools.combinations(of, 2)} for metric, of in parts.items()
    }
    rows = []
    for metric in PAIRED:
        if not (of := contributions.get(metric)):
            continue
        gaps = np.stack([*of.values()], axis=1)
        for (a, b), gap, p, reach in zip(of, gaps.sum(axis=0), *sign_flip_test(gaps), strict=True):
            if metric == "mmd2_pca":
                interval = gap, gap - reach, gap + reach
            else:
                interval = difference(methods[a][metric, ALL], methods[b][metric, ALL])[:3]
            rows.append((metric, a, b, *interval, p))
    table = pd.DataFrame(rows, columns=["metric", "a", "b", "difference", "low", "high", "p"])
    table = table.assign(p_holm=holm(table["p"].to_numpy(dtype=np.float64)))
    table.loc[(table["metric"] == "mmd2_pca") & (table["p_holm"] < 1 - LEVEL), ["low", "high"]] = np.nan
    return table


def metrics_json(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """{method: {metric: number}}: overall values, and matched PSNR and type frequency by type as METRIC_TYPE.

    What has no value, such as the angle error of images without any lattice, is left out.
    """
    overall = table["type"] == ALL
    shown = table[np.isfinite(table["value"]) & (overall | table["metric"].isin(["matched_psnr", "type_frequency"]))]
    names = shown["metric"].where(overall, shown["metric"] + "_" + shown["type"])
    methods = shown["value"].set_axis(names[shown.index]).groupby(shown["method"].to_numpy(), sort=False)
    return {str(name): values.to_dict() for name, values in methods}


def headline(numbers: Mapping[str, Mapping[str, float]], in_full: Collection[str]) -> dict[str, dict[str, float]]:
    """{short name: {method: number}} in four digits, of `metrics_json`: the primary metrics of all, the others of `in_full`."""
    return {
        name: {
            method: float(f"{values[metric]:.4g}")
            for method, values in numbers.items()
            if metric in values and (metric in PRIMARY or method in in_full)
        }
        for name, metric in HEADLINE.items()
    }
