"""What the tables answer, as numbers for the sentences of answer.jinja: what holds in one run need not hold in another.

A method is called better only where its images are lattices, and where permutation test and interval agree that it is.
"""

import math
from collections.abc import Iterator
from typing import Any

from toycrystals.metrics.base import ALL, AT_FLOOR, NO_IMAGE, PRIMARY
from toycrystals.report.collect import Results
from toycrystals.report.formats import form_of, label

_PSNR, _MMD2 = PRIMARY
_ENDS = ["value", "low", "high"]
_STEPS = {_PSNR: ["psnr", "low", "high"], _MMD2: ["mmd2", "mmd2_low", "mmd2_high"]}


def ranking(results: Results) -> tuple[str, list[str], list[str]]:
    """The first primary metric that priors have, the priors that draw lattices by it, best first, and the best as far as told.

    The last are the best one, and those that chance may have put behind it.
    """
    metric = next((name for name in PRIMARY if len(results.of_priors(name))), _MMD2)
    ranked = [name for name in results.of_priors(metric).index if name not in results.failed][:: -1 if metric == _PSNR else 1]
    leads = {name: results.lead(metric, ranked[0], name) for name in ranked}
    return metric, ranked, [name for name, lead in leads.items() if lead is None or not lead.told]


def against_floor(results: Results, metric: str) -> dict[str, list[str]]:
    """{where a value lies beside those of real images, as far as the table judges it: the priors there, with their values}."""
    form, groups = form_of(metric, results.metric(metric)), dict[str, list[str]]()
    for name, row in results.of_priors(metric).iterrows():
        if row["verdict"] == NO_IMAGE:
            group = "not judged, for no image is a lattice"
        elif row["verdict"] == AT_FLOOR:
            group = "within what real ones score"
        elif not math.isfinite(row["q95"]):
            group = "without a floor to compare with"
        else:
            group = f"{'above' if row['value'] > row['q95'] else 'below'} what real ones score"
        reach = f" (real up to {form.number(row['q95'])})" if math.isfinite(row["q95"]) else ""
        groups.setdefault(group, []).append(f"{label(str(name))} {form.estimate(*row[_ENDS])}{reach}")
    return groups


def steps_needed(results: Results) -> Iterator[dict[str, Any]]:
    """By method: the most evaluations tried, what they reach, and from how many on every interval includes that, None if none."""
    overall = results.steps[(results.steps["type"] == ALL) & ~results.steps["method"].isin(results.failed)]
    for method, own in overall.sort_values("steps").groupby("method", sort=False):
        metric = _PSNR if own["psnr"].notna().any() else _MMD2
        rows = own.dropna(subset=_STEPS[metric]).set_index("steps")[_STEPS[metric]].set_axis(_ENDS, axis=1)
        if len(rows) > 1:
            reached = rows["value"].iloc[-1]
            missed = rows.index[(rows["low"] > reached) | (reached > rows["high"])]
            enough = next((n for n in rows.index[:-1] if n > max(missed, default=0)), None)
            yield {"method": method, "form": form_of(metric, rows), "most": rows.index[-1], "reached": reached, "enough": enough}
