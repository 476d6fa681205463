"""Measure what every prior made, put all methods side by side, and test their differences."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import GUARD
from stages.bench import Bench
from toycrystals.core.pool import in_threads
from toycrystals.core.tables import read_csv, write_csv
from toycrystals.metrics.base import Measures, rows_of
from toycrystals.metrics.comparison import compare_pairs, headline, merged, metrics_json, tidy, z_scores
from toycrystals.metrics.intervals import Estimate
from toycrystals.runtime import config
from toycrystals.runtime.files import write_json
from toycrystals.runtime.stage import run

REFERENCES = ["real", "reconstruction"]
STEPS = ["method", "steps", "type", "psnr", "low", "high", "mmd2"]
_Done = dict[tuple[Any, ...], Any]


def evaluate(
    heldout: Path, vae: Path, latents: Path, samples: Path, floor: Path, tables: Path, out: Path,
    seed: int, priors: list[str], metrics: config.Metrics, evaluate: config.Evaluate,
) -> None:  # fmt: skip
    """Write all numbers: metrics, tables with intervals and floors, tests between methods; in `tables` a row an image."""
    bench = Bench(heldout, vae, latents, samples, floor, metrics, evaluate.bootstrap, seed)
    methods = [*REFERENCES, *priors]
    told = {name: bench.conditional(name) for name in priors}
    tasks = tasks_of(bench, methods, told)
    # Once, before threads would each make them.
    for conditional in set(told.values()):
        bench.code_judge(conditional)
    done = dict(zip(tasks, in_threads("evaluate", lambda task: getattr(bench, task[0])(*task[1:]), tasks), strict=True))

    for name in methods:
        # Of the first draw, which is also what figures show.
        write_csv(tables / f"{name}.csv", done["measure_images", name, 0][1])
    curves = [done[task] for task in tasks if task[0] == "measure_steps"]
    write_csv(out / "steps.csv", pd.concat([pd.DataFrame(), *curves]).reindex(columns=STEPS))

    image_floor = read_csv(floor / "draws.csv")
    code_floor = [
        rows_of("real", done["measure_redraw", True, draw]).assign(draw=draw)
        for draw in range(1, 1 + bench.floor_draws) if any(told.values())
    ]  # fmt: skip
    floors = pd.concat([image_floor, *code_floor])
    measures = {name: [measures_of(done, name, draw) for draw in range(bench.draws)] for name in methods}
    # Fresh draws are for the same conditions, so a method that was told none has no floor.
    tables_of = [tidy(name, measures[name], floors if told.get(name, True) else floors[:0]) for name in methods]
    table = pd.concat(tables_of, ignore_index=True)
    write_csv(out / "table.csv", table)
    controls = [
        tidy(str(name), [{(metric, kind): Estimate(value) for _, metric, kind, value in rows.to_numpy()}], image_floor)
        for name, rows in read_csv(floor / "controls.csv").groupby("method", sort=False)
    ]
    write_csv(out / "controls.csv", z_scores(pd.concat([table[table["method"].isin(REFERENCES)], *controls])).reset_index())
    write_comparison(bench, table, {name: merged(draws) for name, draws in measures.items()}, done, out)


def tasks_of(bench: Bench, methods: list[str], told: dict[str, bool]) -> list[tuple[Any, ...]]:
    """What is to be measured: the name of a bench's method, and its arguments; `told` says which priors know conditions."""
    # The longest first, so that no thread is left alone with one at the end.
    return [
        *(("measure_images", name, draw) for name in methods for draw in range(bench.draws)),
        *(("measure_codes", name, draw) for name in told for draw in range(bench.draws)),
        *(("measure_redraw", True, draw) for draw in range(1, 1 + bench.floor_draws) if any(told.values())),
        *(("measure_steps", path) for name in told for path in bench.curve(name)),
        *(("measure_swap", name) for name, conditional in told.items() if conditional),
        *(("measure_density", name) for name in methods if name != "real"),
    ]


def measures_of(done: _Done, name: str, draw: int) -> Measures:
    """All that was measured of a method's draw; what is measured once stands with each."""
    once: Measures = done.get(("measure_swap", name), {}) | done.get(("measure_density", name), {})
    images: Measures = done["measure_images", name, draw][0]
    codes: Measures = done.get(("measure_codes", name, draw), {})
    return images | codes | once


def write_comparison(bench: Bench, table: pd.DataFrame, measures: dict[str, Measures], done: _Done, out: Path) -> None:
    """Write all numbers as JSON, and the tests between methods."""
    numbers = metrics_json(table)
    write_json(out / "metrics.json", numbers)
    # Real images do not change from one experiment to the next, and of N(0, I) the primary metrics say all.
    shown = {name: values for name, values in numbers.items() if name != "real"}
    write_json(out / "headline.json", headline(shown, set(numbers) - {*REFERENCES, "standard"}))
    errors = {
        name: np.mean([done["measure_images", name, draw][1]["mse"] for draw in range(bench.draws)], axis=0)
        for name in measures if "mse" in done["measure_images", name, 0][1]
    }  # fmt: skip
    densities = {name: bench.log_density(name) for name in measures if name not in REFERENCES}
    surprise = {
        name: -log_prob.numpy() for name, log_prob in densities.items() if log_prob is not None and log_prob.isfinite().all()
    }
    features, judge = {name: [done["measure_images", name, d][2] for d in range(bench.draws)] for name in measures}, bench.judge
    parts = {"matched_psnr": errors, "rate": surprise}
    write_csv(out / "pairs.csv", compare_pairs(measures, parts, features, judge.real_features, judge.features.bandwidths))


if __name__ == "__main__":
    run(evaluate, GUARD)
