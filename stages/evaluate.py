"""Measure what every prior made, put all methods side by side, and test their differences."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages import GUARD
from stages.bench import Bench, Way
from toycrystals.core.pool import in_threads
from toycrystals.core.tables import read_csv, write_csv
from toycrystals.metrics.base import Measures, rows_of
from toycrystals.metrics.comparison import compare_pairs, floors, headline, metrics_json, tidy, z_scores
from toycrystals.metrics.intervals import Floats
from toycrystals.metrics.measures import MEASURES
from toycrystals.runtime import config
from toycrystals.runtime.files import write_json
from toycrystals.runtime.stage import run

REFERENCES = ["real", "reconstruction"]
STEPS = ["method", "steps", "type", "psnr", "low", "high", "mmd2", "mmd2_low", "mmd2_high"]


def evaluate(
    heldout: Path, vae: Path, latents: Path, samples: Path, floor: Path, tables: Path, out: Path,
    seed: int, priors: list[str], metrics: config.Metrics, evaluate: config.Evaluate,
) -> None:  # fmt: skip
    """Write all numbers: metrics, tables with intervals and floors, tests between methods; in `tables` a row an image."""
    bench = Bench(heldout, vae, latents, samples, floor, metrics, evaluate.bootstrap, seed)
    methods = [*REFERENCES, *priors]
    image_draws = read_csv(floor / "draws.csv")
    draws = range(1, 1 + image_draws["draw"].max())
    ways = {name: bench.way(name) for name in priors}
    tasks = tasks_of(bench, methods, priors, ways, draws)
    # Once, before threads would each make them.
    for way in dict.fromkeys(ways.values()):
        bench.code_judge(way)
    done = dict(zip(tasks, in_threads("evaluate", lambda task: getattr(bench, task[0])(*task[1:]), tasks), strict=True))

    measures: dict[str, Measures] = {}
    images: dict[str, pd.DataFrame] = {}
    for name in methods:
        measured, images[name] = done["measure_images", name]
        measures[name] = measured | done.get(("measure_codes", name), {})
        write_csv(tables / f"{name}.csv", images[name])
    # What is known of the encoder's own codes stands with what the VAE makes of them.
    measures["reconstruction"] |= done["measure_encoder",]
    curves = [done[task] for task in tasks if task[0] == "measure_steps"]
    write_csv(out / "steps.csv", pd.concat([pd.DataFrame(), *curves]).reindex(columns=STEPS))

    image_floors = floors(image_draws)
    code_floors = {
        way: floors(pd.concat([rows_of(str(draw), done["measure_redraw", way, draw]) for draw in draws])) for way in ways.values()
    }
    # Those of images are of draws for the same conditions, so a method that was told none has none.
    floors_of = {
        name: [image_floors] * ("mse" in images[name]) + ([code_floors[ways[name]]] if name in ways else []) for name in methods
    }
    nowhere = image_floors[:0]
    tables_of = [tidy(rows_of(name, measures[name]), pd.concat([nowhere, *floors_of[name]])) for name in methods]
    table = pd.concat(tables_of, ignore_index=True)
    of_codes = table["metric"].map(lambda name: MEASURES[name].group == "latent" or name == "copy_code")
    widths = {name: width for name, (_, width) in ways.items()}
    write_csv(out / "table.csv", table.assign(posterior_width=table["method"].map(widths).where(of_codes)))
    controls = tidy(read_csv(floor / "controls.csv"), image_floors)
    write_csv(out / "controls.csv", z_scores(pd.concat([table[table["method"].isin(REFERENCES)], controls])).reset_index())
    errors = {name: rows["mse"].to_numpy() for name, rows in images.items() if "mse" in rows}
    write_comparison(bench, metrics_json(table), measures, errors, out)


def tasks_of(bench: Bench, methods: list[str], priors: list[str], ways: dict[str, Way], draws: range) -> list[tuple[Any, ...]]:
    """What is to be measured: the name of a bench's method, and its arguments."""
    # The longest first, so that no thread is left alone with one at the end.
    return [
        ("measure_encoder",),
        *(("measure_images", name) for name in methods),
        *(("measure_codes", name) for name in priors),
        *(("measure_steps", path) for name in priors for path in bench.curve(name)),
        *(("measure_redraw", way, draw) for way in dict.fromkeys(ways.values()) for draw in draws),
    ]


def write_comparison(
    bench: Bench, numbers: dict[str, dict[str, float]], measures: dict[str, Measures], errors: dict[str, Floats], out: Path
) -> None:
    """Write all `numbers` as JSON, and the tests between methods."""
    write_json(out / "metrics.json", numbers)
    # Real images do not change from one experiment to the next, and of N(0, I) the primary metrics say all.
    shown = {name: values for name, values in numbers.items() if name != "real"}
    write_json(out / "headline.json", headline(shown, set(numbers) - {*REFERENCES, "standard"}))
    features, judge = {name: bench.features(name) for name in numbers}, bench.judge
    write_csv(out / "pairs.csv", compare_pairs(measures, errors, features, judge.real_features, judge.features.bandwidths))


if __name__ == "__main__":
    run(evaluate, GUARD)
