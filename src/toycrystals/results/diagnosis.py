"""Where a method goes wrong: types that turn into others, angles that are missed, codes that leave the posterior."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toycrystals.results.style import colour_scale, method_colours, method_label, type_colours
from toycrystals.results.vega import Spec, chart, piece, records

Floats = NDArray[np.float64]
_NO_LATTICE, _POSTERIOR = "no lattice", "held-out posterior"
_DEGREES = (1e-3, 90.0)
_POINTS = 2000


def draw_confusion(tables: Mapping[str, pd.DataFrame], types: Sequence[str]) -> Spec:
    """Types asked for and found; a lattice that is also one of the type asked for counts as that.

    `tables`, a row an image each: asked_type, found_type, right_type_merged, and the reason, `ok` of a lattice.
    """
    rows = [_shares(table).assign(label=method_label(method)) for method, table in tables.items()]
    panels = [method_label(method) for method in tables]
    return chart("confusion", rows=records(pd.concat(rows)), panels=panels, asked=list(types), found=[*types, _NO_LATTICE])


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Per cent of the images of each type asked for: asked, found, share, and as it is shown."""
    asked, right = table["asked_type"], table["right_type_merged"] == 1
    found = table["found_type"].where(table["reason"] == "ok", _NO_LATTICE).mask(right, asked)
    shares = (100 * pd.crosstab(asked, found, normalize="index")).rename_axis("asked").reset_index()
    rows = shares.melt("asked", var_name="found", value_name="share").query("share > 0")
    # Cut, so that 100 means all.
    return rows.assign(shown=np.floor(10 * rows["share"] + 1e-9) / 10)


def draw_theta_errors(errors: Mapping[str, Floats], types: NDArray[np.int64], names: Sequence[str]) -> Spec:
    """The share of images that miss the requested angle by more than x degrees; a panel a type, a line a method.

    Errors [N] in degrees, NaN where an image shows no lattice: no error is too large for those, so their share is where a
    line ends on the right.
    """
    rows = [
        _survival(degrees[types == k]).assign(label=method_label(method), type=names[k])
        for method, degrees in errors.items()
        for k in np.unique(types)
    ]
    lowest, colours = 60.0 / max(1, *np.bincount(types)), colour_scale(method_colours(errors))
    return chart("angles", rows=records(pd.concat(rows)), panels=list(names), degrees=_DEGREES, lowest=lowest, colours=colours)


def _survival(degrees: Floats) -> pd.DataFrame:
    """Per cent of `degrees` [n] that are larger than each of them; NaN is larger than all."""
    known = np.sort(degrees[np.isfinite(degrees)])
    error = np.concatenate([_DEGREES[:1], known.clip(*_DEGREES), _DEGREES[1:]])
    above = len(degrees) - np.arange(len(known) + 1)
    # A logarithmic axis has no 0: a line that falls to it leaves the panel.
    return pd.DataFrame({"error": error, "share": np.maximum(1e-3, 100 * np.append(above, above[-1]) / len(degrees))})


class View(NamedTuple):
    """Some codes: of held-out posteriors [M, D], those of each prior [N, D], and the types [N] that these were drawn for."""

    title: str
    imitated: Floats
    codes: Mapping[str, Floats]
    types: NDArray[np.int64]


def draw_posterior(views: Sequence[View], names: Sequence[str]) -> Spec:
    """Priors beside the posteriors that they imitate: a row a view, a panel a prior; codes to imitate in grey, samples by type.

    The axes, shared by all panels of a view, are the first two principal components of its codes to imitate.
    """
    colours = colour_scale({**type_colours(names), _POSTERIOR: "#ccc"})
    return chart("posterior", views=[_view(view, names, colours) for view in views])


def _view(view: View, names: Sequence[str], colours: Spec) -> Spec:
    mean, components = principal_components(view.imitated)
    low, high = (end((view.imitated - mean) @ components, axis=0) for end in (np.min, np.max))
    middle, reach = (low + high) / 2, 0.6 * max(float((high - low).max()), 1e-9)
    rows, panels, kinds = [], [], np.array(names)[view.types]
    for prior, samples in view.codes.items():
        aims, points = ((part[:_POINTS] - mean) @ components for part in (view.imitated, samples))
        outside = int(np.sum(~(np.abs(points - middle) <= reach).all(axis=1)))
        panels.append(method_label(prior) + (f", {outside} of {len(points)} outside" if outside else ""))
        for place, kind in ((aims, _POSTERIOR), (points, kinds[: len(points)])):
            rows.append(pd.DataFrame(place, columns=["x", "y"]).assign(kind=kind, panel=panels[-1]))
    x, y = np.stack([middle - reach, middle + reach], axis=1).tolist()
    anchors = {"title": view.title, "rows": records(pd.concat(rows)), "panels": panels, "x": x, "y": y, "imitated": _POSTERIOR}
    return piece("posterior view", colours=colours, **anchors)


def principal_components(codes: Floats) -> tuple[Floats, Floats]:
    """The mean [D] of codes [N, D] and their first two principal directions [D, 2], the largest entry of each positive.

    One dimension has no second direction: zeros stand for it.
    """
    mean = codes.mean(axis=0)
    _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(codes - mean, rowvar=False, bias=True)))
    directions = np.pad(vectors[:, ::-1][:, :2], ((0, 0), (0, max(0, 2 - len(mean)))))
    largest = directions[np.abs(directions).argmax(axis=0), [0, 1]]
    return mean, directions * np.sign(largest)
