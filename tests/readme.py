"""The README's results table, written from the metrics: ``python -m tests.readme`` brings the README up to date."""

import json
import re
from pathlib import Path

from toycrystals.figures import method_label

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results: python -m tests.readme -->\n", "<!-- end of results -->"
COLUMNS = {
    "matched_psnr_square": ("square", "{:.1f}"),
    "matched_psnr_rectangular": ("rectangular", "{:.1f}"),
    "matched_psnr_triangular": ("triangular", "{:.1f}"),
    "matched_psnr_honeycomb": ("honeycomb", "{:.1f}"),
    "nearest_ncc": ("nearest lattice", "{:.4f}"),
    "aspect_w1": ("aspect W1", "{:.4f}"),
    "mass_w1": ("mass W1", "{:.5f}"),
    "fft_radial_l2": ("spectrum L2", "{:.6f}"),
}


def results_table(metrics: dict[str, dict[str, float]]) -> str:
    """A row a method, the floor first."""
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method, row in metrics.items():
        name = "real, drawn again: the floor" if method == "real" else method_label(method)
        cells = [form.format(row[key]) if key in row else "-" for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_results(readme: str, metrics: dict[str, dict[str, float]]) -> str:
    """The README with its table replaced."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + results_table(metrics) + END, readme, flags=re.DOTALL)


def main() -> None:
    """Rewrite README.md in place."""
    metrics = json.loads((ROOT / "plots/compare/metrics.json").read_text())
    path = ROOT / "README.md"
    path.write_text(with_results(path.read_text(), metrics))


if __name__ == "__main__":
    main()
