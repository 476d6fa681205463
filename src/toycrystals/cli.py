"""What is no stage: look at data, sample from a prior, exchange datasets, check and report results."""

import json
import math
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ruamel.yaml import YAML
from tqdm import tqdm
from typer.exceptions import TyperException

from toycrystals.about import read_about
from toycrystals.artifacts import atomic, load_pt, load_tensors, save_pt, save_tensors
from toycrystals.conditioning import Conditions
from toycrystals.config import load_params
from toycrystals.dataset import LABELS, VARIANTS, DatasetSpec, Samples, VariantName, from_pt_dict, make_samples, to_pt_dict
from toycrystals.device import pick_device
from toycrystals.errors import UserError, one_line_errors
from toycrystals.figures.images import draw_preview, draw_square_grid
from toycrystals.figures.style import save_figure
from toycrystals.fsck import fsck as check_cache
from toycrystals.generation import CrystalGenerator, load_generator
from toycrystals.lattice import TYPES
from toycrystals.priors.base import SamplerSettings
from toycrystals.priors.registry import PRIORS
from toycrystals.provenance import KEY, Origin
from toycrystals.report.page import write_report
from toycrystals.repository import find_root, stage_of
from toycrystals.verify import verify as reproduces

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)

PriorName = StrEnum("PriorName", list(PRIORS))  # type: ignore[misc]
TypeName = StrEnum("TypeName", list(TYPES))  # type: ignore[misc]
_BATCH = 1024


@app.command()
def preview(
    out: Annotated[Path, typer.Option(help="The figure to write (.png, .pdf, .svg)")],
    variant: Annotated[VariantName, typer.Option(help="Which factors vary")] = "rot_only",
    columns: Annotated[int, typer.Option(min=1, max=32, help="Samples of each type")] = 8,
    image_size: Annotated[int, typer.Option(min=16, max=256, help="Pixels a side")] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw samples of a variant of the dataset, made on the fly."""
    samples = make_samples(DatasetSpec(variant, len(TYPES), image_size, seed), "train", 256)
    with _new_file(out, (".png", ".pdf", ".svg")) as temporary:
        save_figure(draw_preview(samples, variant, columns), temporary)


@app.command()
def sample(
    prior: Annotated[PriorName, typer.Option(help="Where codes come from")],
    out: Annotated[Path, typer.Option(help="A grid of images (.png), or tensors (.safetensors, .pt)")],
    lattice_type: Annotated[
        TypeName | None, typer.Option("--type", help="Lattice type; unless the models are unconditional")
    ] = None,
    theta: Annotated[float | None, typer.Option(help="Rotation in degrees; default 0")] = None,
    spacing: Annotated[float | None, typer.Option(help="Spacing in pixels, for models of the full variant; default 10")] = None,
    vacancy: Annotated[float | None, typer.Option(help="Share of missing atoms, likewise; default 0")] = None,
    jitter: Annotated[float | None, typer.Option(help="Standard deviation of the sites in pixels, likewise; default 0")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of images")] = 36,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler; default: sample.steps of params.yaml")] = None,
    eta: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="0 DDIM, 1 DDPM; default: sample.eta")] = None,
    guidance: Annotated[float | None, typer.Option(min=0.0, help="1 is none; default: sample.guidance")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    models: Annotated[Path, typer.Option(help="The folder of trained models")] = Path("models"),
) -> None:
    """Sample crystals from a trained prior and decode them."""
    settings = _settings(steps, eta, guidance)
    name = str(prior.value)
    vae_path, prior_path = models / "vae.safetensors", models / "priors" / f"{name}.safetensors"
    generator = load_generator(vae_path, prior_path, name, settings, pick_device())
    options = {"steps": steps, "eta": eta, "guidance": guidance}
    if generator.prior.sampler is None and (useless := [option for option, value in options.items() if value is not None]):
        raise UserError(f"--{useless[0]}: the prior {name} draws its codes in one step; leave it out")
    origin = Origin("toycrystals sample", vae=vae_path, prior=prior_path)
    given = {"type": lattice_type, "theta": theta, "spacing": spacing, "vacancy": vacancy, "jitter": jitter}
    given = {name: value for name, value in given.items() if value is not None}
    conditions = _request(generator, given, n)
    with _new_file(out, (".png", ".safetensors", ".pt")) as temporary:
        parts = [
            generator(conditions[start : start + _BATCH], seed, start // _BATCH)
            for start in tqdm(range(0, n, _BATCH), "sampling", unit="batch", disable=not sys.stderr.isatty())
        ]
        images, codes = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        tensors = {"images": images, "codes": codes}
        if generator.conditional:
            tensors |= {"type": conditions.type, "labels": conditions.labels}
        sampler = asdict(generator.prior.sampler) if generator.prior.sampler else {}
        asked = {name: str(value) if name == "type" else value for name, value in given.items()}
        made = origin.made({"sample": {"prior": name, "n": n, "seed": seed, **asked, **sampler}}, generator.meta)
        match out.suffix:
            case ".png":
                save_figure(draw_square_grid(images.numpy()), temporary, json.dumps(made))
            case ".pt":
                save_pt(temporary, {**tensors, KEY: json.dumps(made[KEY])})
            case _:
                save_tensors(temporary, "samples", tensors, {"conditional": generator.conditional, **made})


@app.command()
def about(
    file: Annotated[Path, typer.Argument(help="A model, samples or dataset (.safetensors), or what `sample` wrote")],
) -> None:
    """Say what a file is and what made it: params of the whole chain, data, inputs, versions."""
    YAML().dump(read_about(file), sys.stdout)


def _settings(steps: int | None, eta: float | None, guidance: float | None) -> SamplerSettings:
    """Return what the options say. params.yaml is read only for what they leave out: fetched models may have none beside them."""
    if steps is None or eta is None or guidance is None:
        defaults = load_params().sample
        steps = defaults.steps if steps is None else steps
        eta = defaults.eta if eta is None else eta
        guidance = defaults.guidance if guidance is None else guidance
    return SamplerSettings(steps, eta, guidance)


def _request(generator: CrystalGenerator, given: dict[str, Any], n: int) -> Conditions:
    """Return what the options ask for, `n` times. Raises `UserError` for one that the models cannot answer."""
    config = generator.vae.config
    shown = dict(zip(LABELS, VARIANTS[config.variant].visible, strict=True)) | {"type": True}
    for name in given:
        if not generator.conditional:
            raise UserError(f"--{name}: the models are unconditional and answer no request; leave it out")
        if not shown[name]:
            raise UserError(f"--{name}: the models were trained on {config.variant}, which does not show it; leave it out")
    if generator.conditional and "type" not in given:
        raise UserError(f"--type: the models are conditional; ask for one of {', '.join(TYPES[: config.n_types])}")
    labels = [
        given.get("spacing", 10.0),
        math.radians(given.get("theta", 0.0)),
        given.get("vacancy", 0.0),
        given.get("jitter", 0.0),
    ]
    return Conditions.repeat(config.variant, config.n_types, TYPES.index(given.get("type", TYPES[0])), labels, n)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A .pt dictionary of x_u8, y_cat, y_cont")],
    out: Annotated[Path, typer.Argument(help="The dataset to write (.safetensors)")],
    variant: Annotated[VariantName, typer.Option(help="What the labels in y_cont mean")] = "rot_only",
) -> None:
    """Turn a .pt dictionary into a dataset of this project; it says nothing of the factors behind the labels, which are NaN."""
    samples = from_pt_dict(load_pt(source), str(source))
    spec = {"variant": variant, "n_types": int(samples.type.max()) + 1, "image_size": samples.images.shape[-1], "seed": 0}
    with _new_file(out, (".safetensors",)) as temporary:
        save_tensors(temporary, "dataset", {k: torch.from_numpy(v) for k, v in vars(samples).items()}, {"spec": spec})


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A dataset of this project (.safetensors)")],
    out: Annotated[Path, typer.Argument(help="The .pt dictionary to write")],
) -> None:
    """Turn a dataset of this project into a .pt dictionary of x_u8, y_cat, y_cont."""
    tensors, _ = load_tensors(source, "dataset")
    samples = Samples(**{name: tensor.numpy() for name, tensor in tensors.items()})
    with _new_file(out, (".pt",)) as temporary:
        save_pt(temporary, to_pt_dict(samples))


@app.command()
def fsck(
    remove: Annotated[
        bool, typer.Option("--remove", help="Restore damaged objects from the workspace, or remove them with their copies there")
    ] = False,
    workspace: Annotated[bool, typer.Option("--workspace", help="Read the workspace's files as well")] = False,
) -> None:
    """Read DVC's whole cache and name the objects that are damaged; the exit code is 1 if there were any, removed or not."""
    if not check_cache(find_root(Path.cwd()), remove, workspace):
        raise typer.Exit(1)


@app.command()
def verify(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages to verify, with all that they need; default: every stage")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="A new folder for the clone, which stays there")] = None,
) -> None:
    """Run the last commit again in a fresh clone, and say what differs from its dvc.lock; the exit code is 1 if anything does."""
    if not reproduces(find_root(Path.cwd()), targets or [], keep):
        raise typer.Exit(1)


@app.command()
def report(out: Annotated[Path, typer.Option(help="The page to write (.html)")] = Path("report.html")) -> None:
    """Write the results of the project around the current folder as one self-contained HTML page."""
    if out.suffix != ".html":
        raise UserError(f"{out}: expected a file name that ends in .html")
    write_report(find_root(Path.cwd()), out)


def _new_file(out: Path, suffixes: tuple[str, ...]) -> AbstractContextManager[Path]:
    if out.suffix not in suffixes:
        raise UserError(f"{out}: expected a file name that ends in {' or '.join(suffixes)}")
    if stage := stage_of(out):
        raise UserError(f"{out}: is written by the stage {stage}, and goes with dvc.lock; choose another file")
    return atomic(out)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit code that is not 0."""
    with one_line_errors():
        try:
            code = app(standalone_mode=False)
            sys.stdout.flush()
        except typer.Abort:
            raise KeyboardInterrupt from None
        except TyperException as error:
            # Typer lets pydantic check a choice, which begins its answer so.
            message = getattr(error, "format_message", error.__str__)().replace("Value error, ", "")
            raise UserError(f"{message} (see --help)") from None
        except BrokenPipeError:
            # Whoever read what is printed (`| head`) has left; Python would complain once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        if code == 130:  # what Typer makes of Ctrl-C, without a word
            raise KeyboardInterrupt
        raise SystemExit(code)


if __name__ == "__main__":
    main()
