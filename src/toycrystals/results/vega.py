"""Charts in Vega-Lite: what the YAML files of this folder describe, with values in place of anchors, and as a picture."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

Spec = dict[str, Any]
DPI = 150


@cache
def _pieces() -> Spec:
    yaml = YAML(typ="safe", pure=True)
    return {name: piece for path in Path(__file__).parent.glob("*.yaml") for name, piece in yaml.load(path).items()}


def piece(name: str, **values: Any) -> Spec:
    """What the files have under a name; `values` of its anchors, which are <NAMES>."""
    spec: Spec = put(_pieces()[name], {f"<{anchor.upper()}>": value for anchor, value in values.items()})
    return spec


def chart(name: str, **values: Any) -> Spec:
    """A piece that is a whole chart."""
    return {**piece("look"), **piece(name, **values)}


def put(part: Any, values: Mapping[str, Any]) -> Any:
    """A part of a chart with `values` in place of anchors: as they are, or as JSON where an anchor stands within a text."""
    if isinstance(part, dict):
        return {name: put(inner, values) for name, inner in part.items()}
    if isinstance(part, list):
        return [put(inner, values) for inner in part]
    if part in values:
        return values[part]
    for anchor, value in values.items():
        if isinstance(part, str) and anchor in part:
            part = part.replace(anchor, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return part


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as a chart holds them."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def to_png(spec: Spec) -> bytes:
    """A chart as a PNG: the same bytes on every call."""
    import vl_convert  # noqa: PLC0415 - half a second for figures alone

    png: bytes = vl_convert.vegalite_to_png(spec, vl_version="5.21", scale=DPI / 100, allowed_base_urls=[])
    return png
