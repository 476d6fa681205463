"""Draw a few samples of every variant of the dataset."""

from pathlib import Path

from stages.command import run
from toycrystals.artifacts import atomic
from toycrystals.config import load_params
from toycrystals.dataset import VARIANTS, DatasetSpec, make_samples
from toycrystals.figures.images import draw_preview
from toycrystals.figures.style import save_figure


def preview(out: Path) -> None:
    """Draw a few samples of every variant of the dataset, made on the fly."""
    params = load_params()
    for variant in VARIANTS:
        spec = DatasetSpec(variant, params.data.n_types, params.data.image_size, params.seed)
        with atomic(out / f"{variant}.png") as temporary:
            save_figure(draw_preview(make_samples(spec, "train", 256), variant), temporary)


if __name__ == "__main__":
    run(preview)
