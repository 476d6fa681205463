"""Put all methods side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.command import run
from stages.loading import load_samples
from toycrystals.artifacts import atomic, load_tensors, write_json
from toycrystals.figures.diagnosis import draw_confusion, draw_theta_errors
from toycrystals.figures.evaluation import Panel, draw_controls, draw_estimates
from toycrystals.figures.style import method_label, save_figure
from toycrystals.lattice import TYPES
from toycrystals.metrics.catalogue import CHART, CONTROL_CHART, METRICS
from toycrystals.metrics.comparison import (
    Floor,
    compare_pairs,
    floors,
    from_rows,
    from_tensors,
    headline,
    metrics_json,
    tidy,
    z_scores,
)
from toycrystals.metrics.controls import LABELS
from toycrystals.metrics.features import FeatureExtractor
from toycrystals.metrics.truth import Measures
from toycrystals.tables import read_csv, write_csv


@dataclass(frozen=True)
class Evaluation:
    """What was written about one method; `codes` says how its codes are judged, as a prior's `about.json` does."""

    measures: Measures
    images: pd.DataFrame  # a row an image
    pca: NDArray[np.float32]
    confusion: NDArray[np.int64]  # [2, T, T + 1], strict and with near-squares merged
    codes: dict[str, Any] | None = None

    @property
    def answers(self) -> bool:
        """Whether the method was told the conditions."""
        return "mse" in self.images


def load_evaluation(name: str, evaluations: Path, codes: Path) -> Evaluation:
    """The measures of images and, for a prior, of codes."""
    tensors, meta = load_tensors(evaluations / name / "measures.safetensors", "measures")
    images, arrays = read_csv(evaluations / name / "images.csv"), (tensors["pca"].numpy(), tensors["confusion"].numpy())
    measures = from_tensors(tensors, meta)
    # References have no codes.
    if not (path := codes / f"{name}.safetensors").exists():
        return Evaluation(measures, images, *arrays)
    more, about = load_tensors(path, "measures")
    return Evaluation(measures | from_tensors(more, about), images, *arrays, about)


def floors_of(evaluation: Evaluation, images: dict[tuple[str, str], Floor], codes: pd.DataFrame) -> dict[tuple[str, str], Floor]:
    """The floors that a method's measures stand beside.

    Those of images are of draws for the same conditions, so a method that was told none has no floor.
    """
    found = dict(images) if evaluation.answers else {}
    if evaluation.codes:
        same = codes["conditional"].astype(str) == str(evaluation.codes["conditional"])
        found |= floors(codes[same & np.isclose(codes["posterior_width"], evaluation.codes["posterior_width"])])
    return found


def compare(
    methods: str,
    evaluations: Path,
    codes: Path,
    image_floor: Path,
    code_floor: Path,
    controls: Path,
    heldout: Path,
    features: Path,
    out: Path,
) -> None:
    """Join the evaluations of `methods` (NAME,NAME) with what real images score: metrics, tables, tests and figures."""
    found = {name: load_evaluation(name, evaluations, codes) for name in methods.split(",")}
    image_floors, code_draws = floors(read_csv(image_floor)), read_csv(code_floor)
    if "reconstruction" in found:
        # What is known of the encoder's own codes stands with what the VAE makes of them.
        found["reconstruction"].measures.update(from_rows(code_draws[code_draws["posterior_width"].isna()]))
    table = pd.concat(
        [tidy(name, e.measures, floors_of(e, image_floors, code_draws)) for name, e in found.items()], ignore_index=True
    )
    widths = {name: e.codes["posterior_width"] for name, e in found.items() if e.codes}
    of_codes = table["metric"].map(lambda name: METRICS[name].group == "latent" or name == "copy_code")
    table["posterior_width"] = table["method"].map(widths).where(of_codes)
    measures = {name: evaluation.measures for name, evaluation in found.items()}
    write_json(out / "metrics.json", metrics_json(measures))
    # Real images do not change from one experiment to the next, and of N(0, I) the primary metrics say all.
    learned = [name for name, evaluation in found.items() if evaluation.codes and name != "standard"]
    write_json(out / "headline.json", headline({name: measures[name] for name in found if name != "real"}, learned))
    write_csv(out / "table.csv", table)
    wide = table[table["type"] == "all"].pivot_table(index="method", columns="metric", values="value", sort=False)
    wide = wide.loc[list(found), [name for name in METRICS if name in wide]]
    write_csv(out / "metrics.csv", wide.rename(index=method_label).reset_index())

    held_out, _ = load_samples(heldout, "held-out list")
    extractor = FeatureExtractor.restore(*load_tensors(features, "feature extractor"))
    per_image = {name: e.images["mse"].to_numpy() for name, e in found.items() if e.answers}
    pca = {name: evaluation.pca for name, evaluation in found.items()}
    real, bandwidths = extractor.pca(held_out.images), extractor.bandwidths("pca")
    write_csv(out / "pairs.csv", compare_pairs(measures, per_image, pca, real, bandwidths))

    seen = control_scores(controls, table, image_floors)
    write_csv(out / "controls.csv", seen.reset_index())
    for name, figure in draw(found, table, seen, held_out.type).items():
        with atomic(out / f"{name}.png") as temporary:
            save_figure(figure, temporary)


def control_scores(controls: Path, table: pd.DataFrame, floor: dict[tuple[str, str], Floor]) -> pd.DataFrame:
    """z [control, metric]: real images and reconstructions, then the images with known faults."""
    rows = read_csv(controls)
    tables = [tidy(str(name), from_rows(group), floor) for name, group in rows.groupby("method", sort=False)]
    references = table[table["method"].isin(["real", "reconstruction"])]
    scores = z_scores(pd.concat([references, *tables]))
    order = [name for name in METRICS if name in scores.columns and (name, "all") in floor]
    names = [name for name in ("real", "reconstruction", *LABELS) if name in scores.index]
    return scores.loc[names, order].rename(index=lambda name: LABELS.get(name, method_label(name)))


def draw(found: dict[str, Evaluation], table: pd.DataFrame, seen: pd.DataFrame, types: NDArray[np.int64]) -> dict[str, Figure]:
    """The figures by name."""
    present = [TYPES[k] for k in range(int(types.max()) + 1)]
    charted = [name for name in CHART if name in set(table["metric"])]
    panels = {name: Panel(METRICS[name].label, METRICS[name].unit, METRICS[name].log) for name in charted}
    asked = {name: evaluation for name, evaluation in found.items() if evaluation.answers}
    errors: dict[str, Any] = {
        name: evaluation.images["theta_error"].where(evaluation.images["reason"] == "ok").to_numpy()
        for name, evaluation in asked.items()
    }
    seen = seen[[name for name in CONTROL_CHART if name in seen.columns]]
    labels = {name: METRICS[name].label for name in seen.columns}
    groups: dict[str, str] = {name: METRICS[name].group for name in seen.columns}
    return {
        "metrics": draw_estimates(table, panels),
        "confusion": draw_confusion({name: evaluation.confusion[0] for name, evaluation in asked.items()}, present),
        "confusion_merged": draw_confusion({name: evaluation.confusion[1] for name, evaluation in asked.items()}, present),
        "controls": draw_controls(seen, labels, groups),
        "angles": draw_theta_errors(errors, types, present),
    }


if __name__ == "__main__":
    run(compare)
