"""What the report shows, read from the project's files; nothing is measured, and neither data nor models are needed."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from toycrystals.config import Params, load_params
from toycrystals.errors import UserError
from toycrystals.figures.style import REFERENCES, ordered_methods
from toycrystals.metrics.comparison import COLUMNS
from toycrystals.metrics.truth import ALL
from toycrystals.tables import read_csv

TABLE, PAIRS, STEPS = Path("plots/compare/table.csv"), Path("plots/compare/pairs.csv"), Path("plots/steps/steps.csv")
VAE_CURVE = Path("plots/train_vae/curve.csv")
_NAMES, _WORDS = {"method", "metric", "type", "a", "b"}, {"verdict"}
_PAIRS = ("metric", "a", "b", "difference", "low", "high", "p")
_STEPS = ("type", "psnr", "low", "high", "mmd2", "mmd2_low", "mmd2_high", "steps")


@dataclass(frozen=True)
class Results:
    """The tracked results. Paths are relative to the project's root.

    `table`: a row a method, metric and type; `pairs`: a row a metric and pair of methods; `steps`: a row a number of
    evaluations and type; `curves`: stage -> a row an epoch.
    """

    params: Params
    table: pd.DataFrame
    pairs: pd.DataFrame
    steps: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    figures: list[Path]

    def metric(self, name: str) -> pd.DataFrame:
        """The rows of one metric, of all types together, indexed by method."""
        rows = self.table[(self.table["metric"] == name) & (self.table["type"] == ALL)]
        return rows.drop_duplicates("method").set_index("method")

    @property
    def metrics(self) -> list[str]:
        """What was measured of all types together."""
        return list(dict.fromkeys(self.table.loc[self.table["type"] == ALL, "metric"]))

    @property
    def methods(self) -> list[str]:
        """The references, then the priors."""
        return ordered_methods(self.table["method"])

    @property
    def priors(self) -> list[str]:
        """The methods that are no references."""
        return [name for name in self.methods if name not in REFERENCES]


def collect(root: Path) -> Results:
    """Read the results of the project in `root`.

    Raises `UserError` if params.yaml is missing or wrong, or a table is missing, empty or of another form.
    """
    params = load_params(root / "params.yaml")
    curves = {path.parent.name: read_table(path, ["epoch"]) for path in sorted(root.glob("plots/*/curve.csv"))}
    if VAE_CURVE.parent.name not in curves:
        read_csv(root / VAE_CURVE)
    return Results(
        params,
        read_table(root / TABLE, COLUMNS),
        read_table(root / PAIRS, _PAIRS, empty=True),
        read_table(root / STEPS, _STEPS),
        curves,
        sorted(path.relative_to(root) for path in root.glob("plots/**/*.png")),
    )


def read_table(path: Path, columns: Collection[str], *, empty: bool = False) -> pd.DataFrame:
    """A CSV file that has at least `columns`, and rows unless it may be `empty`. Raises `UserError` otherwise.

    Names are in every row, and what is neither a name nor a verdict is a number or nothing: a merge may have left its marks.
    """
    table = read_csv(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(map(str, table.columns))}; run `dvc repro`")
    if table.empty and not empty:
        raise UserError(f"{path}: expected rows, found none; delete it and run `dvc repro`")
    for name, values in table.items():
        if name in _NAMES:
            wrong, expected = values.isna(), "a name"
        elif name in _WORDS:
            continue
        else:
            wrong, expected = pd.to_numeric(values, errors="coerce").isna() & values.notna(), "a number"
        if wrong.any():
            i = int(wrong.to_numpy().argmax())
            found = "nothing" if pd.isna(values[i]) else repr(values[i])
            raise UserError(f"{path}, line {i + 2}: expected {expected} as {name}, found {found}; delete it and run `dvc repro`")
    return table


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {dotted name: value}."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found
