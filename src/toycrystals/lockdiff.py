"""Two runs of the pipeline compared: by their dvc.lock, where the first differences are the cause, and by their metrics."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from toycrystals.errors import UserError
from toycrystals.repository import LockedStage

_SHOWN = 5  # of the metrics that differ, so many are shown
_DATA = "generate"  # the stage that makes the dataset


@dataclass(frozen=True)
class Difference:
    """How a stage of the committed lock differs from the remade one.

    `inputs` is what no stage makes (`cmd`, `params`, files): if it differs, the lock is that of another commit. `follows` says
    whether the stage read another stage's output that differs; if not, and its inputs agree, it is the cause.
    """

    stage: str
    inputs: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    follows: bool = False

    @property
    def is_cause(self) -> bool:
        return bool(self.outs) and not self.inputs and not self.follows


@dataclass(frozen=True)
class Metrics:
    """Values by (method, metric), and the 95 % intervals of some of them."""

    values: Mapping[tuple[str, str], float]
    intervals: Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True)
class Shift:
    """A metric that differs; `half_widths` is by how much, in half-widths of its interval (nothing if it has no interval)."""

    name: str
    before: float
    after: float
    half_widths: float | None
    outside: bool


def compare_locks(committed: Mapping[str, LockedStage], remade: Mapping[str, LockedStage]) -> list[Difference]:
    """The stages that differ, in the order in which they were remade, which is the pipeline's; then those not remade."""
    made = {path for stage in (*committed.values(), *remade.values()) for path in stage.outs}
    found = []
    for name, after in remade.items():
        if name not in committed:
            found.append(Difference(name, inputs=("not in the committed lock",)))
            continue
        before = committed[name]
        deps = _differing(before.deps, after.deps)
        inputs = [kind for kind in ("cmd", "params") if getattr(before, kind) != getattr(after, kind)]
        difference = Difference(
            name,
            inputs=(*inputs, *(path for path in deps if path not in made)),
            outs=tuple(_differing(before.outs, after.outs)),
            follows=any(path in made for path in deps),
        )
        if difference != Difference(name):
            found.append(difference)
    return found + [Difference(name, inputs=("no stage of dvc.yaml",)) for name in committed if name not in remade]


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def describe_locks(differences: list[Difference], remade: Mapping[str, LockedStage]) -> Iterator[str]:
    """One line for each difference, causes before consequences, and one that says whether the dataset is the same."""
    for difference in differences:
        if difference.inputs:
            yield f"the lock is that of another commit: {difference.stage}: {', '.join(difference.inputs)}"
    for difference in differences:
        if difference.is_cause:
            yield f"first to differ, from the same inputs: {difference.stage}: {', '.join(difference.outs)}"
    for difference in differences:
        if difference.outs and not difference.is_cause:
            yield f"differs in consequence: {difference.stage}: {', '.join(difference.outs)}"
    if _DATA in remade:
        same = not any(difference.stage == _DATA and difference.outs for difference in differences)
        yield "data: the same bytes" if same else "data: other bytes"


def read_metrics(values: Path, table: Path) -> Metrics:
    """Metrics from the files that the stage `compare` writes: `{method: {metric: number}}`, and the table of intervals.

    Raises `UserError` if one of them is not what that stage writes.
    """
    try:
        content = json.loads(values.read_text())
        numbers = {(method, metric): x for method, row in content.items() for metric, x in row.items() if x is not None}
    except (ValueError, AttributeError):
        raise UserError(f"{values}: expected metrics as the stage compare writes them, {{method: {{metric: number}}}}") from None
    try:
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["low"] and row["high"]]
        intervals = {(row["method"], _name(row)): (float(row["low"]), float(row["high"])) for row in rows}
    except (ValueError, KeyError):
        raise UserError(f"{table}: expected columns method, metric, type, low, high as the stage compare writes them") from None
    return Metrics(numbers, intervals)


def _name(row: Mapping[str, str]) -> str:
    return row["metric"] if row["type"] == "all" else f"{row['metric']}_{row['type']}"


def compare_metrics(before: Metrics, after: Metrics) -> list[Shift]:
    """The metrics that differ, the largest shifts first; one that only one side has is NaN on the other, and outside."""
    shifts = []
    for key in sorted(before.values.keys() | after.values.keys()):
        old, new = before.values.get(key, math.nan), after.values.get(key, math.nan)
        if old == new or (math.isnan(old) and math.isnan(new)):
            continue
        shifts.append(Shift(".".join(key), old, new, *_against(before.intervals.get(key), old, new)))
    return sorted(shifts, key=lambda shift: -1 if shift.half_widths is None else shift.half_widths, reverse=True)


def _against(interval: tuple[float, float] | None, old: float, new: float) -> tuple[float | None, bool]:
    if math.isnan(old) or math.isnan(new):
        return (math.inf, True)
    if interval is None:
        return (None, False)
    low, high = interval
    # The table has six digits; at more, a value can lie outside of an interval that was rounded to a point.
    rounded = float(f"{new:.6g}")
    shift, half_width = abs(new - old), (high - low) / 2
    if half_width == 0:
        return (0.0, False) if rounded == low else (math.inf, True)
    return (shift / half_width, not low <= rounded <= high)


def describe_metrics(before: Metrics, shifts: list[Shift]) -> Iterator[str]:
    """How many metrics differ and leave their intervals, and the largest shifts."""
    outside = sum(shift.outside for shift in shifts)
    yield f"metrics: {len(shifts)} of {len(before.values)} differ, {outside} lie outside of their 95 % interval"
    for shift in shifts[:_SHOWN]:
        size = "" if shift.half_widths is None else f", {shift.half_widths:.2g} half-widths of its interval"
        yield f"  {shift.name}: {shift.before:.6g} -> {shift.after:.6g}{size}"
