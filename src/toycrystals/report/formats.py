"""Numbers as a reader wants them: as many digits as the interval supports, one scale and one precision a metric."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from toycrystals.figures.style import method_label
from toycrystals.metrics.catalogue import METRICS, Metric

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"
_SHARES = ("type_accuracy", "valid", "copy_", "swap_decoder_type", "swap_code_type", "type_frequency", "reason")
_SMALL = 0.01  # values that are all below this are shown in powers of a thousand
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ROUNDING = 3.55  # the Particle Data Group's rule: two digits of an error of 100 to 354, one of 355 to 949


@dataclass(frozen=True)
class Form:
    """How the values of one metric are written: times `factor`, with `decimals`; `unit` stands behind, or in a heading."""

    label: str
    factor: float = 1.0
    decimals: int = 2
    unit: str = ""

    @property
    def heading(self) -> str:
        """The label with the unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def number(self, value: float) -> str:
        """One value without its unit, a dash where there is none."""
        if not math.isfinite(value):
            return NONE
        text = f"{self.factor * value:,.{self.decimals}f}"
        # What rounds to nothing has no sign.
        return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)

    def interval(self, low: float, high: float) -> str:
        """[low, high], or nothing where there is no interval."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return ""
        return f"[{self.number(low)},{_SPACE}{self.number(high)}]"

    def quantity(self, value: float) -> str:
        """One value with its unit."""
        text = self.number(value)
        if text == NONE or not self.unit:
            return text
        space = "" if self.unit == "°" else _SPACE
        # A power of ten is a factor.
        return f"{text}{space}×{space}{self.unit}" if self.unit.startswith("10") else f"{text}{space}{self.unit}"

    def estimate(self, value: float, low: float, high: float) -> str:
        """A value with its unit and its interval."""
        return f"{self.quantity(value)} {self.interval(low, high)}".rstrip()


def label(method: str) -> str:
    """A method's name for running text, in which N(0, I) must not be broken."""
    return method_label(method).replace(", ", f",{_SPACE}")


def describe(metric: str) -> Metric:
    """What is known of a metric; one that the catalogue lacks has its name for a label."""
    return METRICS.get(metric, Metric(metric, "near", "truth"))


def form_of(metric: str, rows: pd.DataFrame) -> Form:
    """The form of a metric from its rows: value, low, high."""
    known = describe(metric)
    if metric.startswith(_SHARES):
        return Form(known.label, 100.0, _decimals(rows, 100.0), "%")
    exponent = 0 if known.unit == "°" else _exponent(rows)
    if not exponent:
        return Form(known.label, 1.0, _decimals(rows, 1.0), known.unit)
    factor, power = 10.0**-exponent, "10" + str(exponent).translate(_SUPERSCRIPTS)
    return Form(known.label, factor, _decimals(rows, factor), f"{power} {known.unit}".rstrip())


def _exponent(rows: pd.DataFrame) -> int:
    """Of the power of a thousand that the smallest interval of small values is written in; 0 for others."""
    values = _finite(rows["value"].abs())
    if len(values) == 0 or not 0 < values.max() < _SMALL:
        return 0
    halves = _halves(rows)
    smallest = (halves if len(halves) else values[values > 0]).min()
    return 3 * math.floor(math.log10(smallest) / 3)


def _decimals(rows: pd.DataFrame, factor: float) -> int:
    """So many that a typical interval has one or two digits; without intervals, three digits of a typical value."""
    halves, values = factor * _halves(rows), factor * _finite(rows["value"].abs())
    if len(halves):
        return _clipped(math.ceil(math.log10(_ROUNDING / float(np.median(halves)))))
    values = values[values > 0]
    if len(values) == 0 or (values == values.round()).all():
        return 0
    return _clipped(2 - math.floor(math.log10(float(np.median(values)))))


def _halves(rows: pd.DataFrame) -> "pd.Series[float]":
    halves = _finite((rows["high"] - rows["low"]) / 2)
    # An interval of rounding errors is none.
    return halves[halves > 1e-9]


def _finite(values: "pd.Series[float]") -> "pd.Series[float]":
    return values[np.isfinite(values)]


def _clipped(decimals: int) -> int:
    return min(8, max(0, decimals))


def p_value(p: float) -> str:
    """A p-value with two digits."""
    return NONE if not math.isfinite(p) else f"{p:.2g}" if p >= 1e-3 else f"{p:.4f}"


def size(n: int) -> str:
    """Bytes as kB, MB or GB."""
    value, names = float(n), iter(("bytes", "kB", "MB"))
    for name in names:
        if value < 999.5:
            return f"{value:.0f}{_SPACE}{name}" if name == "bytes" or value >= 99.5 else f"{value:.1f}{_SPACE}{name}"
        value /= 1000.0
    return f"{value:.1f}{_SPACE}GB"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
