"""The factors of variation, and in which variants of the dataset they vary and are shown."""

import math
from dataclasses import dataclass

FACTORS = ("spacing", "theta", "vacancy", "jitter", "aspect")
LABELS = FACTORS[:4]


@dataclass(frozen=True)
class Variant:
    """Ranges of the factors (uniform, half-open; pixels, radians) and whether each one is shown to a model as a label."""

    spacing: tuple[float, float]
    theta: tuple[float, float]
    vacancy: tuple[float, float]
    jitter: tuple[float, float]
    visible: tuple[bool, bool, bool, bool]


_FIXED = (0.0, 0.0)
_THETA = (0.0, math.pi / 3)
VARIANTS: dict[str, Variant] = {
    "simple": Variant((10.0, 10.0), _FIXED, _FIXED, _FIXED, visible=(False, False, False, False)),
    "rot_only": Variant((10.0, 10.0), _THETA, _FIXED, _FIXED, visible=(False, True, False, False)),
    "full": Variant((6.0, 14.0), _THETA, (0.0, 0.25), (0.0, 0.6), visible=(True, True, True, True)),
}


def is_determined(variant: str) -> bool:
    """Whether labels and aspect determine the image: nothing else varies that the labels hide, or that is drawn atom by atom."""
    ranges = VARIANTS[variant]
    hidden = any(
        low < high for low, high in (getattr(ranges, n) for n, seen in zip(LABELS, ranges.visible, strict=True) if not seen)
    )
    return not hidden and ranges.vacancy[1] == 0.0 and ranges.jitter[1] == 0.0
