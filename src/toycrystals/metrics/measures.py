"""All measures by name; importing this imports the modules that define them."""

from toycrystals.metrics import codes, images  # noqa: F401 (measures register themselves)
from toycrystals.metrics.base import AT_FLOOR, MEASURES, NO_IMAGE, PRIMARY, Measure

__all__ = ["AT_FLOOR", "MEASURES", "NO_IMAGE", "PRIMARY", "Measure"]
