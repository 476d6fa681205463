"""Write the templates of `dvc plots`: the charts of the results, as `toycrystals.results.charts` describes them.

``make plots-page`` runs this.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from toycrystals.results import charts
from toycrystals.results.catalogue import CHART
from toycrystals.results.vega import Spec

TEMPLATES: dict[str, Callable[[], Spec]] = {
    "intervals.json": partial(charts.intervals, CHART),
    "differences.json": charts.differences,
    "controls.json": charts.controls,
    "steps.json": charts.steps,
    "curve.json": charts.curve,
    "log_curve.json": partial(charts.curve, log=True),
}


def text(template: Spec) -> str:
    """A template as JSON; what holds nothing but plain values stands on one line."""
    lines = json.dumps(template, indent=1, ensure_ascii=False) + "\n"
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda match: re.sub(r"\n\s*", " ", match[0]), lines)


if __name__ == "__main__":
    for name, template in TEMPLATES.items():
        (Path(__file__).parent / name).write_text(text(template()))
