"""The report's tables: cells with a value, its interval, and whether it is at the floor."""

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from toycrystals.figures.style import method_label
from toycrystals.metrics.catalogue import AT_FLOOR, METRICS, PRIMARY
from toycrystals.metrics.truth import ALL, NEAR_SQUARE
from toycrystals.report.collect import Results
from toycrystals.report.formats import MINUS, NONE, Form, form_of, p_value

# Of methods that answer requests, and of methods that are told none; with a heading short enough for a column.
_OR = " or "
_ANSWERS = {
    "matched_psnr": "matched PSNR",
    "mmd2_pca": "MMD²",
    "type_accuracy_merged": "type accuracy",
    "theta_error_median": "angle error",
    "spacing_error_median": "spacing error",
    "vacancy_error_mean": "vacancy error",
    "aspect_w1": "aspect W1",
    "latent_auc_boosted": "latent AUC",
    "copy_code": "codes copied",
}
_POPULATION = {
    "mmd2_pca": "MMD²",
    "mmd2_network": "MMD², network",
    "valid": "lattices",
    "nearest_ncc": "nearest lattice",
    "type_tv": "type frequencies, TV",
    "latent_auc_boosted": "latent AUC",
    "copy_code": "codes copied",
}
_NOTES = {
    "matched_psnr": "Matched PSNR: against the exact image of the request.",
    "mmd2_pca": "MMD²: between the images and held-out ones as sets, on principal components of real pixels.",
    "mmd2_network": "MMD², network: the same on features of a network that learned the factors of real images.",
    "type_accuracy_merged": f"Type accuracy merges rectangular crystals of aspect within {NEAR_SQUARE:g} of 1 with squares.",
    "theta_error_median": "Angle error: median, modulo the type's symmetry, of the lattice recovered from the image.",
    "aspect_w1": "Aspect W1: distance between the aspects drawn and the true ones.",
    "valid": "Lattices: share of images that are a lattice about the centre.",
    "nearest_ncc": "Nearest lattice: correlation with the nearest exact image.",
    "type_tv": "Type frequencies: total variation from those of the data.",
    "latent_auc_boosted": "Latent AUC: how well boosted trees tell codes from those of held-out images; 0.5 is not at all.",
    "copy_code": "Codes copied: nearer to a training code than most held-out codes are; no value is good in itself, for codes "
    "far from all data are near no training code either.",
}
# Codes far from all data are near no training code either: of these, no value is good in itself.
_NOT_GOOD_IN_ITSELF = ("copy_code", "copy_image")


@dataclass(frozen=True)
class Cell:
    """`strong`: at the floor; `small` stands below the text."""

    text: str
    small: tuple[str, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """`caption` names it for those who do not see it; the first cell of a row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    quiet: int = 0  # so many rows at the top are no results but what to compare them with
    notes: list[str] = field(default_factory=list)


def main_table(results: Results) -> Table:
    """What fresh real images score, then a row a method."""
    answers = results.metric(PRIMARY[0]).index.isin(results.priors).any()
    wanted = _ANSWERS if answers else _POPULATION
    columns = {metric: results.metric(metric) for metric in wanted}
    columns = {metric: rows for metric, rows in columns.items() if rows.index.isin(results.priors).any()}
    shown = {metric: wanted[metric] for metric in columns}
    forms = {metric: form_of(metric, rows) for metric, rows in columns.items()}
    head = ["", *(f"{shown[m]}, {forms[m].unit}" if forms[m].unit else shown[m] for m in shown)]
    real = [Cell("fresh real images: mean", ("below: worst 5 %",)), *(_floor(columns[metric], forms[metric]) for metric in shown)]
    rows = [
        [Cell(method_label(name)), *(_estimate(columns[metric], name, forms[metric], metric) for metric in shown)]
        for name in results.methods
    ]
    notes = [_NOTES[metric] for metric in shown if metric in _NOTES]
    if any(_OR in cell.text for cell in real):
        notes.append(f"Two numbers with{_OR}between: the floors of codes that are judged by different posterior widths.")
    return Table("Results of every method with 95 % intervals", head, [real, *rows], quiet=1, notes=notes)


def _floor(rows: pd.DataFrame, form: Form) -> Cell:
    """Mean and worst 5 % of real images; codes that are judged by different posterior widths have floors of their own."""
    mean = rows["floor"].fillna(rows["ceiling"])
    known = pd.DataFrame({"mean": mean, "q95": rows["q95"]}).dropna().drop_duplicates()
    if known.empty:
        return Cell(NONE)
    means, worst = (_OR.join(map(form.number, known[column])) for column in ("mean", "q95"))
    return Cell(means, (worst,))


def _estimate(rows: pd.DataFrame, key: str, form: Form, metric: str) -> Cell:
    """The value of the row `key` with its interval below."""
    if key not in rows.index or not math.isfinite(rows["value"][key]):
        return Cell(NONE)
    row = rows.to_dict("index")[key]
    interval = form.interval(row["low"], row["high"])
    strong = row["verdict"] == AT_FLOOR and metric not in _NOT_GOOD_IN_ITSELF
    return Cell(form.number(row["value"]), (interval,) if interval else (), strong)


def type_table(results: Results) -> Table | None:
    """The first metric that priors have by type, a row a method; None where there is one type, or no such metric."""
    for metric in (PRIMARY[0], "valid"):
        rows = results.table[(results.table["metric"] == metric) & (results.table["type"] != ALL)]
        kinds = list(dict.fromkeys(rows["type"]))
        if len(kinds) > 1 and rows["method"].isin(results.priors).any():
            form = form_of(metric, rows)
            by_kind = {kind: group.set_index("method") for kind, group in rows.groupby("type", sort=False)}
            methods = [name for name in results.methods if name in set(rows["method"])]
            body = [[Cell(method_label(m)), *(_estimate(by_kind[kind], m, form, metric) for kind in kinds)] for m in methods]
            return Table(f"{form.heading}, by lattice type", ["", *kinds], body)
    return None


def all_table(results: Results) -> Table:
    """Every metric of all types together, a row a metric, a column a method."""
    methods, present = results.methods, results.metrics
    metrics = [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]
    body = []
    for metric in metrics:
        rows = results.metric(metric)
        form = form_of(metric, rows)
        body.append([Cell(form.heading), *(_estimate(rows, name, form, metric) for name in methods)])
    return Table("Every metric of every method, all types together", ["", *map(method_label, methods)], body)


def pairs_tables(results: Results) -> list[Table]:
    """A table a metric of the tests between methods."""
    tables = []
    for metric, rows in results.pairs.groupby("metric", sort=False):
        form = form_of(str(metric), rows.rename(columns={"difference": "value"}))
        body = [
            [
                Cell(f"{method_label(row['a'])} {MINUS} {method_label(row['b'])}"),
                Cell(form.number(row["difference"])),
                Cell(form.interval(row["low"], row["high"]) or NONE),
                Cell(p_value(row["p"])),
            ]
            for row in rows.to_dict("records")
        ]
        tables.append(Table(form.heading, [f"a {MINUS} b", "difference", "95 % interval", "p"], body))
    return tables


def plain(caption: str, head: list[str], rows: list[list[Any]]) -> Table:
    """A table of bare texts."""
    return Table(caption, head, [[Cell(str(value)) for value in row] for row in rows])
