"""Put all methods side by side."""

from pathlib import Path

import pandas as pd

from stages.command import run
from toycrystals.artifacts import atomic, read_json, write_csv, write_json
from toycrystals.figures import draw_metrics, method_label, save_figure


def compare(evaluations: Path, methods: str, out: Path) -> None:
    """Join the evaluations of `methods` (NAME,NAME) into one table, and draw it."""
    metrics = {name: read_json(evaluations / f"{name}.json") for name in methods.split(",")}
    write_json(out / "metrics.json", metrics)
    rows = [{"method": method_label(name), **values} for name, values in metrics.items()]
    write_csv(out / "metrics.csv", pd.DataFrame(rows))
    with atomic(out / "metrics.png") as temporary:
        save_figure(draw_metrics(metrics), temporary)


if __name__ == "__main__":
    run(compare)
