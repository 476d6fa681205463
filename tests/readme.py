"""The README's results table and graph of the pipeline: ``python -m tests.readme`` writes them from the metrics and dvc.yaml."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from toycrystals.results.style import method_label

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "plots/evaluate/table.csv"
BEGIN, END = "<!-- results: python -m tests.readme -->\n", "<!-- end of results -->"
GRAPH_BEGIN, GRAPH_END = "<!-- graph: python -m tests.readme -->\n", "<!-- end of graph -->"
# Metric -> title, factor, format.
COLUMNS = {
    "matched_psnr": ("**matched PSNR**, dB", 1.0, "{:.2f}"),
    "mmd2_pca": ("**MMD²**, 10⁻⁶", 1e6, "{:z.0f}"),
    "type_accuracy_merged": ("type accuracy", 100.0, "{:.1f} %"),
    "theta_error_median": ("angle error", 1.0, "{:.4f}°"),
    "aspect_w1": ("aspect W1", 1.0, "{:.3f}"),
    "kl_oracle": ("nats to the oracle", 1.0, "{:.3f}"),
    "latent_auc_boosted": ("latent AUC", 1.0, "{:.3f}"),
    "copy_code": ("codes copied", 100.0, "{:.1f} %"),
}
WITH_INTERVAL = ("matched_psnr", "aspect_w1", "kl_oracle", "latent_auc_boosted", "copy_code")


def results_table(table: pd.DataFrame) -> str:
    """What fresh real images score, then a row a method; bold is at the floor."""
    overall = table[(table["type"] == "all") & table["metric"].isin(COLUMNS)].set_index(["method", "metric"])
    lines = ["| | " + " | ".join(title for title, _, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines.append("| *fresh real images: mean, worst 5 %* | " + " | ".join(_floor(overall, metric) for metric in COLUMNS) + " |")
    lines += [
        f"| {method_label(method)} | " + " | ".join(_cell(overall, method, metric) for metric in COLUMNS) + " |"
        for method in dict.fromkeys(table["method"])
    ]
    return "\n".join(lines) + "\n"


def _floor(overall: pd.DataFrame, metric: str) -> str:
    _, factor, form = COLUMNS[metric]
    known = overall.xs(metric, level="metric").dropna(subset="q95")
    if known.empty:
        return "-"
    mean = known["floor"].fillna(known["ceiling"]).iloc[0]
    # On both sides, where near the mean is best and there are values on both.
    worst = dict.fromkeys(form.format(factor * end) for end in sorted(known["q95"]))
    return f"*{form.format(factor * mean)}, {' or '.join(worst)}*"


def _cell(overall: pd.DataFrame, method: str, metric: str) -> str:
    _, factor, form = COLUMNS[metric]
    if (method, metric) not in overall.index:
        return "-"
    row = overall.loc[(method, metric)]
    text = form.format(factor * row["value"])
    if row["verdict"] == "at floor":
        text = f"**{text}**"
    if metric in WITH_INTERVAL:
        low, high = (form.format(factor * row[end]).removesuffix(" %") for end in ("low", "high"))
        text += f" [{low}, {high}]"
    return text


def pipeline_graph() -> str:
    """What `dvc dag` draws, a node a stage."""
    command = [sys.executable, "-m", "dvc", "dag", "--md", "--collapse-foreach-matrix"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() + "\n"


def with_results(readme: str, table: pd.DataFrame) -> str:
    """The README with its table replaced."""
    return _between(readme, BEGIN, END, results_table(table))


def with_graph(readme: str, graph: str) -> str:
    """The README with its graph replaced."""
    return _between(readme, GRAPH_BEGIN, GRAPH_END, graph)


def _between(text: str, begin: str, end: str, content: str) -> str:
    return re.sub(f"{begin}.*?{end}", lambda _: begin + content + end, text, flags=re.DOTALL)


def main() -> None:
    """Rewrite README.md in place."""
    path = ROOT / "README.md"
    path.write_text(with_graph(with_results(path.read_text(), pd.read_csv(TABLE)), pipeline_graph()))


if __name__ == "__main__":
    main()
