"""The answer in sentences, each computed from the tables: what holds in one run need not hold in another."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from toycrystals.metrics.catalogue import AT_FLOOR, NO_IMAGE, PRIMARY
from toycrystals.metrics.truth import ALL
from toycrystals.report.collect import Results
from toycrystals.report.formats import Form, describe, form_of, label, listed, p_value

_PSNR, _MMD2 = PRIMARY
_LEVEL = 0.05  # of a test
_CODES = {
    "latent_auc_boosted": "Can boosted trees tell a prior's codes from those of held-out images?",
    "copy_code": "Are a prior's codes copies of training codes?",
}


class Finding(NamedTuple):
    """A question and what the numbers say to it."""

    question: str
    answer: str


class Difference(NamedTuple):
    """Of two methods: value, ends of the interval, p."""

    value: float
    low: float
    high: float
    p: float


def headline(results: Results) -> str:
    """The answer in short: which prior is best by the first primary metric that priors have, and how much it closes."""
    for metric, phrase, sign in ((_PSNR, "answers requests best", -1.0), (_MMD2, "is as a set nearest to held-out images", 1.0)):
        rows = _metric(results, metric)
        if rows.empty:
            continue
        best = str((sign * rows["value"]).idxmin())
        form = form_of(metric, results.metric(metric))
        number = f"Of {len(rows)} priors, " if len(rows) > 1 else "Of one prior, "
        text = f"{number}{label(best)} {phrase}: {describe(metric).label} {form.estimate(*_ends(rows, best))}."
        return f"{text} {_closed(results, best, form)}".rstrip() if metric == _PSNR else text
    return "No prior has a value of a primary metric."


def findings(results: Results) -> list[Finding]:
    """What the numbers say, the most important first."""
    return [*_requests(results), *_sets(results), *_codes(results), *_steps(results)]


def _metric(results: Results, metric: str) -> pd.DataFrame:
    """The priors' rows of one metric that have a value, by method; none if no method has it."""
    rows = results.metric(metric)
    return rows.loc[[name for name in results.priors if name in rows.index and math.isfinite(rows["value"][name])]]


def _closed(results: Results, best: str, form: Form) -> str:
    """How much of the way from N(0, I) to the reconstructions the best prior goes; nothing where one of them is missing."""
    gap = _difference(results.pairs, _PSNR, "reconstruction", "standard")
    if gap is None:
        return ""
    between = f"between {label('standard')} and the VAE's reconstructions"
    if gap.low <= 0:
        return f"There is no gap to close {between}: the difference is {form.estimate(*gap[:3])}."
    text = f"The gap {between} is {form.estimate(*gap[:3])}"
    if best == "standard":
        return f"{text}; no other prior does better, so none of it is closed."
    values = results.metric(_PSNR)["value"]
    share = (values[best] - values["standard"]) / gap.value
    return f"{text}; {label(best)} closes {'all of it' if share >= 1 else f'{100 * share:.1f} % of it'}."


def _requests(results: Results) -> list[Finding]:
    """Who answers requests best, and whether the lead over the next is more than chance."""
    rows = _metric(results, _PSNR)
    question = "Does an image show what was asked for?"
    if rows.empty:
        return [Finding(question, "The priors were told no conditions; they are judged as sets.")]
    everyone = results.metric(_PSNR)
    form = form_of(_PSNR, everyone)
    ranked = sorted(rows.index, key=lambda name: -rows["value"][name])
    scores = "; ".join(f"{label(name)} {form.estimate(*_ends(rows, name))}" for name in ranked)
    answer = f"{form.label[0].upper()}{form.label[1:]}: {scores}."
    bounds = [
        f"{what} {form.quantity(everyone['value'][name])}"
        for name, what in (("reconstruction", "the VAE's reconstructions of real images"), ("real", "fresh real images"))
        if name in everyone.index
    ]
    answer += f" For comparison: {', '.join(bounds)}." if bounds else ""
    if failed := [label(name) for name in ranked if rows["verdict"][name] == NO_IMAGE]:
        answer += f" No image of {listed(failed)} is a lattice."
    return [Finding(question, answer), *_lead(results.pairs, ranked, form)]


def _lead(pairs: pd.DataFrame, ranked: Sequence[str], form: Form) -> list[Finding]:
    if len(ranked) < 2 or (lead := _difference(pairs, _PSNR, ranked[0], ranked[1])) is None:
        return []
    answer = "Yes" if lead.p < _LEVEL and lead.low > 0 else "That cannot be told"
    text = f"{answer}: {form.estimate(*lead[:3])}, permutation p = {p_value(lead.p)}."
    return [Finding(f"Is the lead of {label(ranked[0])} over {label(ranked[1])} more than chance?", text)]


def _sets(results: Results) -> list[Finding]:
    """Which priors' images are, as a set, as near to the held-out images as one more draw of real ones."""
    rows = _metric(results, _MMD2)
    if rows.empty:
        return []
    form = form_of(_MMD2, results.metric(_MMD2))
    ranked = sorted(rows.index, key=lambda name: rows["value"][name])
    scores = "; ".join(f"{label(name)} {form.estimate(*_ends(rows, name))}" for name in ranked)
    floored = rows[rows["q95"].notna()]
    if floored.empty:
        verdict = "There is no floor to compare with: real images are drawn for conditions, and these are not."
    else:
        there, away = (floored[mask] for mask in (floored["verdict"] == AT_FLOOR, floored["verdict"] != AT_FLOOR))
        names = f"{listed(map(label, there.index)) or 'none'}; not: {listed(map(label, away.index)) or 'none'}"
        verdict = f"At the floor, no worse than one more draw of real images: {names}."
    return [Finding("Do the images together have the right distribution?", f"{form.label}: {scores}. {verdict}")]


def _codes(results: Results) -> list[Finding]:
    """Which priors' codes give themselves away, and which copy."""
    found = []
    for metric, question in _CODES.items():
        rows = _metric(results, metric)
        form = form_of(metric, rows)
        groups: dict[str, list[str]] = {}
        for name, row in rows.to_dict("index").items():
            reach = f", real codes up to {form.quantity(row['q95'])}" if math.isfinite(row["q95"]) else ""
            groups.setdefault(_against_real(row), []).append(f"{label(str(name))} ({form.quantity(row['value'])}{reach})")
        if groups:
            text = "; ".join(f"{group}: {listed(names)}" for group, names in sorted(groups.items(), reverse=True))
            found.append(Finding(question, f"{form.label[0].upper()}{form.label[1:]}, {text}."))
    return found


def _against_real(row: Mapping[Hashable, Any]) -> str:
    """Where a value lies beside those of real codes, as far as the table judges it."""
    if not math.isfinite(row["q95"]):
        return "without a floor"
    if row["verdict"] == AT_FLOOR:
        return "within what real codes score"
    if row["verdict"] == NO_IMAGE:
        return "not judged, for no image is a lattice"
    return "above what real codes score" if row["value"] > row["q95"] else "below what real codes score"


def _steps(results: Results) -> list[Finding]:
    """The fewest evaluations whose interval still includes what the most reach."""
    rows = results.steps[results.steps["type"] == ALL].sort_values("steps")
    for column, low, high, metric in (("psnr", "low", "high", _PSNR), ("mmd2", "mmd2_low", "mmd2_high", _MMD2)):
        known = rows.dropna(subset=[column, low, high])
        if len(known) < 2:
            continue
        last, name = known.iloc[-1], describe(metric).label
        most = int(last["steps"])
        enough = int(known[(known[low] <= last[column]) & (last[column] <= known[high])]["steps"].min())
        answer = (
            f"With {enough}, the interval of its {name} includes what {most} reach."
            if enough < most
            else f"All {most} that were tried: with fewer, no interval of its {name} includes what they reach."
        )
        return [Finding("How many network evaluations does the diffusion prior need?", answer)]
    return []


def _difference(pairs: pd.DataFrame, metric: str, a: str, b: str) -> Difference | None:
    """a - b, whichever way round the table has it."""
    for first, second, sign in ((a, b, 1.0), (b, a, -1.0)):
        found = pairs[(pairs["metric"] == metric) & (pairs["a"] == first) & (pairs["b"] == second)]
        if len(found):
            value, low, high, p = (float(found.iloc[0][name]) for name in ("difference", "low", "high", "p"))
            ends = sorted((sign * low, sign * high))
            return Difference(sign * value, ends[0], ends[1], p)
    return None


def _ends(rows: pd.DataFrame, method: str) -> tuple[float, float, float]:
    return float(rows["value"][method]), float(rows["low"][method]), float(rows["high"][method])
