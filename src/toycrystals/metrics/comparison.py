"""Methods side by side: each measure beside what real images score, and differences between methods with their tests.

All tables have rows (method, metric, type, value, ...), as `base.rows_of` makes them.
"""

import itertools
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from toycrystals.metrics.base import ALL, AT_FLOOR, NO_IMAGE, PRIMARY, Measures
from toycrystals.metrics.intervals import Floats, difference, sign_flip_test
from toycrystals.metrics.measures import MEASURES
from toycrystals.metrics.mmd import mmd2_contrast

# What `dvc exp show` and `dvc metrics diff` have a column of, under names that leave room for the numbers.
HEADLINE = {
    "psnr": "matched_psnr",
    "mmd2": "mmd2_pca",
    "ncc": "nearest_ncc",
    "type": "type_accuracy_merged",
    "aspect": "aspect_w1",
    "auc": "latent_auc_boosted",
    "copied": "copy_code",
}
COLUMNS = ["method", "metric", "type", "value", "low", "high", "floor", "ceiling", "sd", "q95", "verdict"]


def floors(draws: pd.DataFrame) -> pd.DataFrame:
    """What real images score, from the rows of fresh draws: `mean`, `sd`, and where one more lies with 95 %, `least` to `most`.

    That is Student's prediction interval: one-sided, but where near is better. By (metric, type); what has no value has no floor.
    """
    values = draws.groupby(["metric", "type"], sort=False)["value"]
    floor = pd.DataFrame({"mean": values.mean(), "sd": values.std(), "n": values.count()}).query("n > 1")
    better = floor.index.get_level_values("metric").map(lambda metric: MEASURES[metric].better)
    student = stdtrit(floor["n"] - 1, np.where(better == "near", 0.975, 0.95))
    reach = student * floor["sd"] * np.sqrt(1.0 + 1.0 / floor["n"])
    least, most = floor["mean"] - reach, floor["mean"] + reach
    return floor.assign(least=least.mask(better == "lower", -np.inf), most=most.mask(better == "higher", np.inf))


def tidy(rows: pd.DataFrame, floor: pd.DataFrame) -> pd.DataFrame:
    """The rows beside their floors, with the columns `COLUMNS`; the verdict is on values of one more draw, or better ones.

    `floor` is the mean of real images, called `ceiling` where higher is better; `sd` their deviation, and `q95` the end of what
    one more draw of them scores, on the worse side.
    """
    table = rows.reset_index(drop=True).join(floor, on=["metric", "type"])
    higher = table["metric"].map(lambda metric: MEASURES[metric].better == "higher").astype(bool)
    # Real images can score the same in every draw; then rounding must not decide.
    slack = 1e-9 * table["mean"].abs().clip(lower=1.0)
    within = table["value"].between(table["least"] - slack, table["most"] + slack)
    none_valid = table[(table["metric"] == "valid") & (table["type"] == ALL) & (table["value"] == 0.0)]
    lost = table["method"].isin(none_valid["method"])
    return table.assign(
        floor=table["mean"].mask(higher),
        ceiling=table["mean"].where(higher),
        q95=table["least"].where(higher, table["most"]),
        verdict=np.select([lost, within], [NO_IMAGE, AT_FLOOR], ""),
    ).reindex(columns=COLUMNS)


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
    methods: Mapping[str, Measures], mse: Mapping[str, Floats], pca: Mapping[str, NDArray[np.float32]],
    real: NDArray[np.float32], bandwidths: Floats,
) -> pd.DataFrame:  # fmt: skip
    """Every pair of methods on the primary metrics: difference a - b, paired bootstrap interval, paired permutation test.

    Both tests swap the two methods' images on random conditions: `mse` [N] (of methods that answer requests) by the sum of the
    differences, `pca` [N, P] by MMD^2 to the `real` held-out images [N, P], which is linear in the swaps (`mmd2_contrast`).
    """
    pairs = [(metric, *pair) for metric, of in zip(PRIMARY, (mse, pca), strict=True) for pair in itertools.combinations(of, 2)]
    gaps = [difference(methods[a][metric, ALL], methods[b][metric, ALL])[:3] for metric, a, b in pairs]

    def parts_of(metric: str, a: str, b: str) -> Floats:
        return mse[a] - mse[b] if metric == PRIMARY[0] else mmd2_contrast(pca[a], pca[b], real, bandwidths)

    with ThreadPoolExecutor(torch.get_num_threads()) as executor:
        parts = list(executor.map(parts_of, *zip(*pairs, strict=True)))
    rows = [(*pair, *gap) for pair, gap in zip(pairs, gaps, strict=True)]
    table = pd.DataFrame(rows, columns=["metric", "a", "b", "difference", "low", "high"])
    return table.assign(p=sign_flip_test(np.stack(parts, axis=1)) if parts else [])


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
