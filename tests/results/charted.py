"""Tables as `evaluate` writes them, and what the tests read back from the charts of them."""

import itertools

import numpy as np
import pandas as pd
import vl_convert

METHODS = ("real", "mop", "diffusion", "my_prior")
TYPES = ("all", "square", "rectangular", "triangular", "honeycomb", "kagome")
STEPS = (1, 2, 5, 10, 100)
VALUES = {"matched_psnr": 40.0, "theta_error_median": 0.01, "mmd2_pca": 1e-4, "latent_mmd2": -1e-5, "my_metric": 0.5}


def table(methods=METHODS, values=VALUES):
    """Every value of every method; the second method is at the floor, and each also has a row of a type."""
    rows = []
    for metric, value in values.items():
        for i, method in enumerate(methods):
            row = {"method": method, "metric": metric, "type": "all", "value": value * (1 + i)}
            row |= {"low": row["value"] - 0.1 * abs(value), "high": row["value"] + 0.1 * abs(value), "floor": value / 2}
            row |= {"ceiling": np.nan, "sd": abs(value) / 10, "q95": value, "p": 0.01, "p_holm": 0.05 if i == 1 else 0.04}
            row["verdict"] = "at floor" if i == 1 else ""
            rows += [row, row | {"type": "square", "value": 12345.0}]
    return pd.DataFrame(rows)


def pairs(methods=METHODS):
    """Every pair by images; by codes, which real images have not, all pairs of the others. The last of all are not told apart."""
    rows = []
    for metric, scale in {"matched_psnr": 3.0, "mmd2_pca": -1e-4, "rate": 0.1}.items():
        for i, (a, b) in enumerate(itertools.combinations(methods[metric == "rate" :], 2)):
            ends = {"difference": scale * i, "low": scale * (i - 1), "high": scale * (i + 1)}
            rows.append({"metric": metric, "a": a, "b": b, **ends, "p": i / 100, "p_holm": i / 40})
    return pd.DataFrame(rows)


def controls():
    """Each of the numbers is cut or clipped in its own way; one control and one value are missing."""
    columns = {"matched_psnr": [0.31, 2.99, 3.0], "mmd2_pca": [-1.26, 1e5, -2e4], "aspect_w1": [9.96, np.nan, 120.9]}
    return pd.DataFrame({"method": ["real", "rotated", "my_control"], **columns})


def steps(methods=("diffusion",), types=TYPES):
    """Quality that rises with the steps; an MMD^2 for all types together, below 0 in the end."""
    rows = []
    for method in methods:
        for count in STEPS:
            for i, kind in enumerate(types):
                psnr, mmd2 = 40 + i - 20 / count, 0.05 / count**2 - 1e-4 if kind == "all" else np.nan
                row = {"method": method, "steps": count, "type": kind, "psnr": psnr, "low": psnr - 1, "high": psnr + 1}
                rows.append(row | {"mmd2": mmd2})
    return pd.DataFrame(rows)


def curve(epochs=4, **columns):
    """Losses that fall from 1 to 0.01."""
    fall = np.geomspace(1.0, 0.01, epochs)
    return pd.DataFrame({"epoch": np.arange(1, epochs + 1), **{name: fall * scale for name, scale in columns.items()}})


def marks(spec, kind):
    """The marks of one kind that a chart draws, `symbol` or `text` or `rect`: what the scene graph says of each."""
    found = []

    def walk(node):
        if isinstance(node, list):
            for part in node:
                walk(part)
        elif isinstance(node, dict):
            if node.get("marktype") == kind and node.get("role") == "mark":
                found.extend(node["items"])
            walk(node.get("items", []))

    walk(vl_convert.vegalite_to_scenegraph(spec, vl_version="5.21")["scenegraph"])
    return found
