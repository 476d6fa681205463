"""What is no stage: look at data, sample from a prior, exchange datasets, check and report results."""

import json
import math
import os
import sys
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from ruamel.yaml import YAML
from tqdm import tqdm
from typer.exceptions import TyperException

from dvccare.fsck import fsck as check_cache
from dvccare.repository import find_root, stage_of
from dvccare.verify import verify as reproduces
from toycrystals.core.artifacts import load_meta, load_pt, load_tensors, save_pt, save_tensors
from toycrystals.core.device import pick_device
from toycrystals.core.provenance import KEY, Origin
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import DatasetSpec, from_pt_dict, load_samples, make_samples, to_pt_dict
from toycrystals.crystals.lattice import TYPES
from toycrystals.crystals.variants import LABELS, VARIANTS
from toycrystals.diffusion.sampler import SamplerSettings
from toycrystals.priors.base import find_prior
from toycrystals.priors.generator import CrystalGenerator, load_generator
from toycrystals.results.images import draw_preview, save_sheet
from toycrystals.results.style import save_figure
from toycrystals.runtime.config import load_params, prior_names
from toycrystals.runtime.errors import UserError, one_line_errors
from toycrystals.runtime.files import atomic, require_file

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)

PriorName = StrEnum("PriorName", list(prior_names()))  # type: ignore[misc]
TypeName = StrEnum("TypeName", list(TYPES))  # type: ignore[misc]
VariantName = StrEnum("VariantName", list(VARIANTS))  # type: ignore[misc]
_ROT_ONLY = VariantName("rot_only")
_BATCH = 1024


@app.command()
def preview(
    out: Annotated[Path, typer.Option(help="The figure to write (.png, .pdf, .svg)")],
    variant: Annotated[VariantName, typer.Option(help="Which factors vary")] = _ROT_ONLY,
    columns: Annotated[int, typer.Option(min=1, max=32, help="Samples of each type")] = 8,
    image_size: Annotated[int, typer.Option(min=16, max=256, help="Pixels a side")] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw samples of a variant of the dataset, made on the fly."""
    samples = make_samples(DatasetSpec(str(variant), len(TYPES), image_size, seed), "train", 256)
    with atomic(_checked(out, ".png", ".pdf", ".svg")) as temporary:
        save_figure(draw_preview(samples, str(variant), columns), temporary)


@app.command()
def sample(
    prior: Annotated[PriorName, typer.Option(help="Where codes come from")],
    out: Annotated[Path, typer.Option(help="A grid of images (.png), or tensors (.safetensors, .pt)")],
    lattice_type: Annotated[TypeName | None, typer.Option("--type", help="Lattice type, for conditional models")] = None,
    theta: Annotated[float | None, typer.Option(help="Rotation in degrees; default 0")] = None,
    spacing: Annotated[float | None, typer.Option(help="Spacing in pixels, for models of the full variant; default 10")] = None,
    vacancy: Annotated[float | None, typer.Option(help="Share of missing atoms, likewise; default 0")] = None,
    jitter: Annotated[float | None, typer.Option(help="Standard deviation of the sites in pixels, likewise; default 0")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of images")] = 36,
    sampler: Annotated[str | None, typer.Option(help="Name of the sampler; default: sample.sampler of params.yaml")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the sampler; default: sample.steps")] = None,
    eta: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="0 DDIM, 1 DDPM; default: sample.eta")] = None,
    guidance: Annotated[float | None, typer.Option(min=0.0, help="1 is none; default: sample.guidance")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    models: Annotated[Path, typer.Option(help="The folder of trained models")] = Path("models"),
) -> None:
    """Sample crystals from a trained prior and decode them."""
    asked = _given(type=lattice_type, theta=theta, spacing=spacing, vacancy=vacancy, jitter=jitter)
    options = _given(sampler=sampler, steps=steps, eta=eta, guidance=guidance)
    takes_steps = find_prior(str(prior)).Prior.takes_steps
    if options and not takes_steps:
        raise UserError(f"--{next(iter(options))}: the prior {prior} draws its codes in one step; leave it out")
    settings = _settings(options) if takes_steps else SamplerSettings("", 1, 0.0, 1.0)
    files = {"vae": models / "vae.safetensors", "prior": models / "priors" / f"{prior}.safetensors"}
    generator = load_generator(files["vae"], files["prior"], str(prior), settings, pick_device())
    conditions = _request(generator, asked, n)
    used = {"prior": prior, "n": n, "seed": seed, **asked, **(asdict(settings) if takes_steps else {})}
    made = Origin("toycrystals sample", **files).made({"sample": used}, generator.meta)
    with atomic(_checked(out, ".png", ".safetensors", ".pt")) as temporary:
        parts = [
            generator(conditions[start : start + _BATCH], seed, start // _BATCH)
            for start in tqdm(range(0, n, _BATCH), "sampling", unit="batch", disable=None)
        ]
        tensors = {name: torch.cat(part) for name, part in zip(("images", "codes"), zip(*parts, strict=True), strict=True)}
        if generator.conditional:
            tensors |= {"type": conditions.type, "labels": conditions.labels}
        if out.suffix == ".png":
            save_sheet(tensors["images"].numpy(), temporary, json.dumps(made))
        elif out.suffix == ".pt":
            save_pt(temporary, {**tensors, KEY: json.dumps(made[KEY])})
        else:
            save_tensors(temporary, "samples", tensors, {"conditional": generator.conditional, **made})


def _given(**options: Any) -> dict[str, Any]:
    """Those that are there."""
    return {name: value for name, value in options.items() if value is not None}


def _settings(options: dict[str, Any]) -> SamplerSettings:
    """What the options say. params.yaml is read only for what they leave out: fetched models may have none beside them."""
    if not math.isfinite(options.get("guidance", 1.0)):
        raise UserError(f"--guidance: got {options['guidance']}, expected a finite number")
    names = {field.name for field in fields(SamplerSettings)}
    defaults = {} if names == options.keys() else load_params().sample.model_dump(include=names)
    return SamplerSettings(**defaults | options)


def _request(generator: CrystalGenerator, asked: dict[str, Any], n: int) -> Conditions:
    """What the options ask for, `n` times. Raises `UserError` for one that the models cannot answer."""
    config = generator.vae.config
    shown = dict(zip(LABELS, VARIANTS[config.variant].visible, strict=True)) | {"type": True}
    for name in asked:
        if not generator.conditional:
            raise UserError(f"--{name}: the models are unconditional and answer no request; leave it out")
        if not shown[name]:
            raise UserError(f"--{name}: the models were trained on {config.variant}, which does not show it; leave it out")
    if generator.conditional and "type" not in asked:
        raise UserError(f"--type: the models are conditional; ask for one of {', '.join(TYPES[: config.n_types])}")
    values: dict[str, Any] = {"spacing": 10.0, "theta": 0.0, "vacancy": 0.0, "jitter": 0.0, **asked}
    labels = [math.radians(values[name]) if name == "theta" else values[name] for name in LABELS]
    return Conditions.repeat(config.variant, config.n_types, TYPES.index(asked.get("type", TYPES[0])), labels, n)


@app.command()
def about(
    file: Annotated[Path, typer.Argument(help="A model, samples or dataset (.safetensors), or what `sample` wrote")],
) -> None:
    """Say what a file is and what made it: params of the whole chain, data, inputs, versions."""
    YAML().dump(read_about(file), sys.stdout)


def read_about(path: Path) -> dict[str, Any]:
    """The metadata of a tensor file (.safetensors), or what made the samples in a .pt dictionary or a .png grid.

    Raises `UserError` if the file is missing, damaged or of another kind, or says nothing.
    """
    require_file(path, "a model, samples or a dataset", "check the path")
    if path.suffix == ".safetensors":
        return load_meta(path)
    if path.suffix not in (".pt", ".png"):
        raise UserError(f"{path}: expected a file name that ends in .safetensors, .pt or .png")
    try:
        if path.suffix == ".pt":
            content = json.loads(load_pt(path)[KEY])
        else:
            with Image.open(path) as image:
                content = json.loads(image.info["Description"])
        return {KEY: content.get(KEY, content)}
    except (OSError, SyntaxError, LookupError, AttributeError, TypeError, ValueError) as error:
        # What PIL says of a damaged file has no number, what the system says of one that cannot be read has.
        if getattr(error, "errno", None):
            raise
        found = "one that is damaged or does not say what made it"
        raise UserError(f"{path}: expected a file of `toycrystals sample`, found {found}") from None


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A .pt dictionary of x_u8, y_cat, y_cont")],
    out: Annotated[Path, typer.Argument(help="The dataset to write (.safetensors)")],
    variant: Annotated[VariantName, typer.Option(help="What the labels in y_cont mean")] = _ROT_ONLY,
) -> None:
    """Turn a .pt dictionary into a dataset of this project; it says nothing of the factors behind the labels, which are NaN."""
    samples = from_pt_dict(load_pt(source), str(source))
    spec = {"variant": str(variant), "n_types": int(samples.type.max()) + 1, "image_size": samples.images.shape[-1], "seed": 0}
    with atomic(_checked(out, ".safetensors")) as temporary:
        save_tensors(temporary, "dataset", {k: torch.from_numpy(v) for k, v in vars(samples).items()}, {"spec": spec})


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A dataset of this project (.safetensors)")],
    out: Annotated[Path, typer.Argument(help="The .pt dictionary to write")],
) -> None:
    """Turn a dataset of this project into a .pt dictionary of x_u8, y_cat, y_cont."""
    samples, _ = load_samples(*load_tensors(source, "dataset"))
    with atomic(_checked(out, ".pt")) as temporary:
        save_pt(temporary, to_pt_dict(samples))


@app.command()
def fsck(remove: Annotated[bool, typer.Option("--remove", help="Take damage away, restore what can be")] = False) -> None:
    """Read DVC's whole cache and name the objects that are damaged; the exit code is 1 if there were any, removed or not."""
    if not check_cache(find_root(Path.cwd()), remove):
        raise typer.Exit(1)


@app.command()
def verify(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages, with all that they need; default: every stage")] = None,
    keep: Annotated[Path | None, typer.Option(help="A new folder for the clone, which stays there")] = None,
) -> None:
    """Run the last commit again in a fresh clone, and say what differs from its dvc.lock; the exit code is 1 if anything does."""
    if not reproduces(find_root(Path.cwd()), targets or [], keep):
        raise typer.Exit(1)


@app.command()
def report(out: Annotated[Path, typer.Option(help="The page to write (.html)")] = Path("report.html")) -> None:
    """Write the results of the project around the current folder as one self-contained HTML page."""
    # Here, for no other command needs what it imports.
    from toycrystals.report.page import write_report  # noqa: PLC0415

    write_report(find_root(Path.cwd()), _checked(out, ".html"))


def _checked(out: Path, *suffixes: str) -> Path:
    """The path of a file to write. Raises `UserError` if it has another suffix, or a stage of dvc.yaml writes it."""
    if out.suffix not in suffixes:
        raise UserError(f"{out}: expected a file name that ends in {' or '.join(suffixes)}")
    if stage := stage_of(out):
        raise UserError(f"{out}: is written by the stage {stage}, and goes with dvc.lock; choose another file")
    return out


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit code that is not 0."""
    with one_line_errors():
        try:
            code = app(standalone_mode=False)
            sys.stdout.flush()
        except TyperException as error:
            # Typer lets pydantic check a choice, which begins its answer so.
            message = getattr(error, "format_message", error.__str__)().replace("Value error, ", "")
            raise UserError(f"{' '.join(message.split())} (see --help)") from None
        except BrokenPipeError:
            # Whoever read what is printed (`| head`) has left; Python would complain once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        if code == 130:  # what Typer makes of Ctrl-C, without a word
            raise KeyboardInterrupt
        raise SystemExit(code)


if __name__ == "__main__":
    main()
