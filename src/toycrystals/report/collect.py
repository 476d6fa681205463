"""What the report shows, read from the project's files; nothing is measured, and neither data nor models are needed."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from toycrystals.core.tables import read_csv
from toycrystals.metrics.base import ALL, NO_IMAGE, PRIMARY
from toycrystals.results.catalogue import METRICS
from toycrystals.results.style import REFERENCES, method_label, ordered_methods
from toycrystals.runtime.config import Params, load_params
from toycrystals.runtime.errors import UserError

_COLUMNS = {
    "table": ("method", "metric", "type", "value", "low", "high", "floor", "ceiling", "sd", "q95", "p_holm", "verdict"),
    "pairs": ("metric", "a", "b", "difference", "low", "high", "p_holm"),
    "steps": ("method", "steps", "type", "psnr", "low", "high", "mmd2"),
}
_NAMES = {"method", "metric", "type", "a", "b"}
_LEVEL = 0.05  # of a test


class Lead(NamedTuple):
    """How far one method is better than another, its interval, and p of the permutation test, corrected for their number."""

    value: float
    low: float
    high: float
    p: float

    @property
    def told(self) -> bool:
        """Whether it can be told from chance; a difference of MMD^2 that is told has no interval."""
        return self.p < _LEVEL and (self.low if math.isfinite(self.low) else self.value) > 0


@dataclass(frozen=True)
class Results:
    """The tracked results. Paths are relative to the project's root.

    `table`: a row a method, metric and type; `pairs`: a row a metric and pair of methods; `steps`: a row a method, number of
    steps and type; `curves`: a row an epoch, by the label of the model.
    """

    params: Params
    table: pd.DataFrame
    pairs: pd.DataFrame
    steps: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    figures: list[Path]

    def metric(self, name: str, kind: str = ALL) -> pd.DataFrame:
        """The rows of one metric and type, or of all types together, indexed by method."""
        rows = self.table[(self.table["metric"] == name) & (self.table["type"] == kind)]
        return rows.drop_duplicates("method").set_index("method")

    def of_priors(self, name: str) -> pd.DataFrame:
        """The priors' rows of one metric that have a value, by method, from low to high."""
        rows = self.metric(name).dropna(subset="value")
        return rows[rows.index.isin(self.priors)].sort_values("value", kind="stable")

    def lead(self, metric: str, a: str, b: str) -> Lead | None:
        """How far a is better than b, whichever way round the table has it; None if they were not compared by this metric."""
        for row in self.pairs[self.pairs["metric"] == metric].dropna(subset="difference").to_dict("records"):
            if {row["a"], row["b"]} == {a, b}:
                sign = (1.0 if row["a"] == a else -1.0) * (1.0 if metric == PRIMARY[0] else -1.0)
                low, high = sorted((sign * row["low"], sign * row["high"]))
                return Lead(sign * row["difference"], low, high, row["p_holm"])
        return None

    @property
    def metrics(self) -> list[str]:
        """What was measured of all types together: what the catalogue has, then the others."""
        names = self.table.loc[self.table["type"] == ALL, "metric"].unique()
        return sorted(names, key=lambda name: [*METRICS, name].index(name))

    @property
    def methods(self) -> list[str]:
        """The references, then the priors."""
        return ordered_methods(self.table["method"])

    @property
    def priors(self) -> list[str]:
        """The methods that are no references."""
        return [name for name in self.methods if name not in REFERENCES]

    @property
    def failed(self) -> set[str]:
        """The methods without any image of a lattice."""
        return set(self.table.loc[self.table["verdict"] == NO_IMAGE, "method"])

    @property
    def types(self) -> tuple[str, list[str]]:
        """The first metric that priors have by type, and the types; none where there is one type, or no such metric."""
        split = self.table[(self.table["type"] != ALL) & self.table["method"].isin(self.priors)]
        for metric in (PRIMARY[0], "valid"):
            if len(kinds := split.loc[split["metric"] == metric, "type"].unique()) > 1:
                return metric, list(kinds)
        return "", []


def collect(root: Path) -> Results:
    """Read the results of the project in `root`.

    Raises `UserError` if params.yaml is missing or wrong, or a table is missing, empty or of another form.
    """
    params, plots = load_params(root / "params.yaml"), root / "plots"
    tables = {name: read_table(plots / f"evaluate/{name}.csv", columns, name != "table") for name, columns in _COLUMNS.items()}
    curves = {"VAE": read_table(plots / "train_vae/curve.csv", ["epoch"])}
    for path in sorted(plots.glob("train_prior/*.csv")):
        # A prior of an earlier run may have left its curve.
        if path.stem in set(tables["table"]["method"]):
            curves[method_label(path.stem)] = read_table(path, ["epoch"])
    return Results(params, **tables, curves=curves, figures=sorted(path.relative_to(root) for path in plots.glob("**/*.png")))


def read_table(path: Path, columns: Collection[str], may_be_empty: bool = False) -> pd.DataFrame:
    """A CSV file that has at least `columns`, and rows unless it `may_be_empty`. Raises `UserError` otherwise.

    Names are in every row, and what is neither a name nor a verdict is a number or nothing: a merge may have left its marks.
    """
    table = read_csv(path)
    if missing := [name for name in columns if name not in table]:
        raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(map(str, table.columns))}; run `dvc repro`")
    if table.empty and not may_be_empty:
        raise UserError(f"{path}: expected rows, found none; delete it and run `dvc repro`")
    for name, values in table.drop(columns="verdict", errors="ignore").items():
        kind, right = ("name", values) if name in _NAMES else ("number", pd.to_numeric(values.fillna(0), errors="coerce"))
        if right.isna().any():
            i = int(right.isna().argmax())
            raise UserError(
                f"{path}, line {i + 2}: expected a {kind} as {name}, found {values[i]!r}; delete it and run `dvc repro`"
            )
    return table
