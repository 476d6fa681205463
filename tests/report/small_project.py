"""Results of made-up methods, small enough to be read: as tables, and as a project's folder."""

import shutil

import matplotlib.image
import numpy as np
import pandas as pd
from closure import ROOT

from toycrystals.metrics.comparison import COLUMNS
from toycrystals.report.collect import collect
from toycrystals.report.page import LIBRARIES

STANDARD, DIFFUSION, REAL, VAE = (20.0, 19.5, 20.5), (40.0, 39.9, 40.1), (60.0, 59.9, 60.1), (45.0, 44.9, 45.1)


def row(method, metric, estimate, kind="all", floor=np.nan, ceiling=np.nan, sd=np.nan, q95=np.nan, verdict=""):
    p = np.nan if np.isnan(q95) else 0.5 if verdict else 0.01
    return [method, metric, kind, *estimate, floor, ceiling, sd, q95, p, p, verdict]


def conditional_rows():
    psnr = {"real": REAL, "reconstruction": VAE, "standard": STANDARD, "diffusion": DIFFUSION}
    rows = [
        row(name, "matched_psnr", e, kind, floor=60, sd=0.1, q95=59.8)
        for name, e in psnr.items()
        for kind in ("all", "square", "honeycomb")
    ]
    mmd2 = {"real": 0.0, "reconstruction": 4e-6, "standard": 3e-3, "diffusion": -1e-6}
    for name, value in mmd2.items():
        verdict = "at floor" if value < 1e-6 else ""
        rows.append(row(name, "mmd2_pca", (value, np.nan, np.nan), floor=-1e-6, sd=2e-6, q95=2e-6, verdict=verdict))
    for metric, values in {"rate": (6.0, 1.2), "kl_oracle": (5.0, 0.2)}.items():
        rows += [row(name, metric, (n, n - 0.1, n + 0.1)) for name, n in zip(("standard", "diffusion"), values, strict=True)]
    rows.append(row("standard", "copy_code", (0.002, 0.001, 0.003), floor=0.05, sd=0.005, q95=0.04))
    rows.append(row("diffusion", "copy_code", (0.065, 0.055, 0.075), floor=0.05, sd=0.005, q95=0.06, verdict="at floor"))
    return rows


def unconditional_rows():
    rows = [row("real", "matched_psnr", REAL), row("reconstruction", "matched_psnr", VAE)]
    for name, value in {"real": 1e-6, "standard": 3e-3, "diffusion": 2e-6}.items():
        rows.append(row(name, "mmd2_pca", (value, np.nan, np.nan)))
        rows.append(row(name, "valid", (0.9, 0.89, 0.91)))
    return rows


PAIRS = [
    ["matched_psnr", "reconstruction", "standard", 25.0, 24.0, 26.0, 0.0001, 0.0002],
    ["matched_psnr", "standard", "diffusion", -20.0, -21.0, -19.0, 0.0001, 0.0002],
    ["rate", "standard", "diffusion", 4.8, 4.7, 4.9, 0.0001, 0.0002],
]
STEPS = [
    ["diffusion", 1, "all", 30.0, 29.0, 31.0, 1e-3],
    ["diffusion", 1, "square", 32.0, 31.0, 33.0, np.nan],
    ["diffusion", 5, "all", 39.5, 38.0, 41.0, 2e-6],
    ["diffusion", 5, "square", 41.0, 40.0, 42.0, np.nan],
    ["diffusion", 25, "all", 40.0, 39.0, 41.0, 1e-6],
    ["diffusion", 25, "square", 42.0, 41.0, 43.0, np.nan],
]


def write_project(folder, rows=None, pairs=PAIRS, steps=STEPS):
    """The files that a report is made of, in `folder`."""
    tables = {
        "evaluate/table": (COLUMNS, conditional_rows() if rows is None else rows),
        "evaluate/pairs": (["metric", "a", "b", "difference", "low", "high", "p", "p_holm"], pairs),
        "evaluate/steps": (["method", "steps", "type", "psnr", "low", "high", "mmd2"], steps),
        "train_vae/curve": (["epoch", "total", "val_psnr"], [[1, 1.0, 20.0], [2, 0.01, 30.0]]),
        "train_prior/diffusion": (["epoch", "total", "val_total"], [[1, 0.5, 0.4], [2, 0.4, 0.3]]),
        "train_prior/standard": (["epoch", "val_total"], [[0, 12.345]]),
        "train_prior/earlier": (["epoch", "val_total"], [[0, 1.0]]),
    }
    for name, (names, content) in tables.items():
        path = folder / "plots" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(content, columns=names).to_csv(path, index=False)
    add_figure(folder, "plots/figures/samples.png")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / LIBRARIES).parent.mkdir(parents=True)
    shutil.copy(ROOT / LIBRARIES, folder / LIBRARIES)
    return folder


def add_figure(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    matplotlib.image.imsave(folder / name, np.zeros((4, 6, 3), dtype=np.uint8))


def results(folder, **content):
    return collect(write_project(folder, **content))
