"""Numbers as a reader wants them: as many digits as the interval supports, one scale and one precision a metric."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from toycrystals.results.catalogue import label_of
from toycrystals.results.style import method_label

NONE = "\N{EN DASH}"
_SPACE = "\N{NO-BREAK SPACE}"
_SHARES = ("type_accuracy", "valid", "copy_", "swap_decoder_type", "swap_code_type", "type_frequency", "reason")
_SMALL = 0.01  # values that are all below this are shown in powers of a thousand
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ROUNDING = 3.55  # the Particle Data Group's rule: two digits of an error of 100 to 354, one of 355 to 949


@dataclass(frozen=True)
class Form:
    """How the values of one metric are written: times `factor`, with `decimals`, and with `unit` behind."""

    label: str
    factor: float
    decimals: int
    unit: str

    @property
    def heading(self) -> str:
        """The label with the unit."""
        return f"{self.label}, {self.unit.lstrip('×' + _SPACE)}" if self.unit else self.label

    def number(self, value: float) -> str:
        """One value without its unit, a dash where there is none; what rounds to nothing has no sign."""
        text = f"{self.factor * value:z,.{self.decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NONE

    def interval(self, low: float, high: float) -> str:
        """[low, high], or nothing where there is no interval."""
        return f"[{self.number(low)},{_SPACE}{self.number(high)}]" if math.isfinite(high - low) else ""

    def estimate(self, value: float, low: float = math.nan, high: float = math.nan) -> str:
        """A value with its unit and its interval."""
        return f"{self.number(value)}{self.unit if math.isfinite(value) else ''} {self.interval(low, high)}".rstrip()


def form_of(metric: str, rows: pd.DataFrame) -> Form:
    """The form of a metric from its rows: value, low, high, and `sd` of real images if known, which tells where no interval does.

    It has so many decimals that a typical interval has one or two digits; without any, three digits of a typical value.
    """
    known = label_of(metric)
    factor, unit = 1.0, known.unit if known.unit in ("", "°") else _SPACE + known.unit
    values, halves = rows["value"].abs(), (rows["high"] - rows["low"]) / 2
    if halves.isna().all() and "sd" in rows:
        halves = 2 * rows["sd"]
    # An interval of rounding errors is none.
    values, halves = (part[part.between(least, math.inf, "neither")] for part, least in ((values, 0.0), (halves, 1e-9)))
    if metric.startswith(_SHARES):
        factor, unit = 100.0, f"{_SPACE}%"
    elif unit != "°" and values.max() < _SMALL:
        smallest = halves.min() if len(halves) else values.median()
        exponent = min(-3, 3 * math.floor(math.log10(smallest) / 3))
        factor, unit = 10.0**-exponent, f"{_SPACE}×{_SPACE}10{str(exponent).translate(_SUPERSCRIPTS)}{unit}"
    decimals = 0
    if len(halves):
        decimals = math.ceil(math.log10(_ROUNDING / (factor * halves.median())))
    elif not (values == values.round()).all():
        decimals = 2 - math.floor(math.log10(factor * values.median()))
    return Form(known.label, factor, min(8, max(0, decimals)), unit)


def levels(rows: pd.DataFrame) -> tuple[float, list[float]]:
    """The mean of fresh real images, NaN if not known, and what one in twenty exceeds, on the sides on which there are values."""
    known = rows.dropna(subset="q95")
    return known["floor"].fillna(known["ceiling"]).mean(), sorted(known["q95"].unique())


def label(method: str) -> str:
    """A method's name for running text, in which N(0, I) must not be broken."""
    return method_label(method).replace(", ", f",{_SPACE}")


def p_value(p: float) -> str:
    """A p-value with two digits."""
    return NONE if not math.isfinite(p) else f"{p:.2g}" if p >= 1e-3 else f"{p:.4f}"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last
