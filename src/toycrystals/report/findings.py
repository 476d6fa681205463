"""What the tables answer, as numbers for the sentences of answer.jinja: what holds in one run need not hold in another.

A method is called better only where its images are lattices, and where the corrected permutation test and the interval agree that
it is.
"""

import math
from collections.abc import Iterator
from typing import Any

from toycrystals.metrics.base import ALL, AT_FLOOR, NO_IMAGE, PRIMARY, TOO_FEW
from toycrystals.report.collect import Results
from toycrystals.report.formats import form_of, label

_PSNR, _MMD2 = PRIMARY
_ENDS = ["value", "low", "high"]
# How far a prior is from the true density of codes: itself where that is known, else with a summand that all priors share.
_NATS = ("kl_oracle", "rate")


def ranking(results: Results) -> tuple[str, list[str], list[str]]:
    """The first primary metric that priors have, the priors that draw lattices by it, best first, and the best as far as told.

    The last are the best one, and those that chance may have put behind it.
    """
    metric = next((name for name in PRIMARY if len(results.of_priors(name))), _MMD2)
    return metric, *_ranked(results, metric, metric)


def nearest(results: Results) -> tuple[str, list[str], list[str]]:
    """The same by nats."""
    metric = next((name for name in _NATS if len(results.of_priors(name))), "rate")
    # Differences of the one are those of the other.
    return metric, *_ranked(results, metric, "rate")


def _ranked(results: Results, metric: str, tested: str) -> tuple[list[str], list[str]]:
    ranked = [name for name in results.of_priors(metric).index if name not in results.failed][:: -1 if metric == _PSNR else 1]
    leads = {name: results.lead(tested, ranked[0], name) for name in ranked}
    return ranked, [name for name, lead in leads.items() if lead is None or not lead.told]


def against_floor(results: Results, metric: str) -> dict[str, list[str]]:
    """{where values lie beside those of real images, as far as the table judges them: the priors there, with their values}."""
    form, groups = form_of(metric, results.metric(metric)), dict[str, list[str]]()
    for name, row in results.of_priors(metric).iterrows():
        real = row["floor"] if math.isfinite(row["floor"]) else row["ceiling"]
        if row["verdict"] == NO_IMAGE:
            group = "not judged, for no image is a lattice"
        elif row["verdict"] == TOO_FEW:
            group = "not judged, for there were too few draws"
        elif row["verdict"] == AT_FLOOR:
            group = "not told from real ones"
        elif not math.isfinite(real):
            group = "without a floor to compare with"
        else:
            group = f"{'above' if row['value'] > real else 'below'} real ones"
        groups.setdefault(group, []).append(f"{label(str(name))} {form.estimate(*row[_ENDS])}")
    return groups


def steps_needed(results: Results) -> Iterator[dict[str, Any]]:
    """By method: the most evaluations tried, their PSNR, and from how many on no interval lies below that; None if only there.

    Methods that were told no conditions have none, and MMD^2 no interval that could tell.
    """
    overall = results.steps[(results.steps["type"] == ALL) & ~results.steps["method"].isin(results.failed)]
    for method, own in overall.sort_values("steps").groupby("method", sort=False):
        rows = own.rename(columns={"psnr": "value"}).dropna(subset=_ENDS).set_index("steps")[_ENDS]
        if len(rows) > 1:
            reached = rows["value"].iloc[-1]
            missed = rows.index[rows["high"] < reached]
            enough = next((n for n in rows.index[:-1] if n > max(missed, default=0)), None)
            yield {"method": method, "form": form_of(_PSNR, rows), "most": rows.index[-1], "reached": reached, "enough": enough}
