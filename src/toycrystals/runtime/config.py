"""params.yaml to frozen, validated sections: what a hyperparameter means and may be (a prior's stand in its own file).

The file is read as YAML 1.2 by the parser that DVC itself uses, so that ``1e-5`` is a number for both. All sections are
checked whichever one a stage asks for, so that a mistake ends a run before any work begins. What depends on code that can
grow (lattices, variants, priors) is looked up there, by name and when params are checked, so that an addition edits nothing here.
"""

import math
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from toycrystals.runtime.errors import UserError
from toycrystals.runtime.files import require_file

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Precision = Literal["auto", "bf16", "fp32"]
# Of choosing a method's draws: the least p, 1 / 1500, is below 0.05 when it is corrected for up to 74 tests.
_WAYS = 1500
# Of the modules in priors/, these are none.
_NO_PRIORS = {"base", "exemplars", "generator"}


class Section(BaseModel):
    """Immutable; unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """The dataset: `variant` fixes which factors vary and which the labels show, `n_types` takes the first of the lattices.

    `n_heldout` test conditions, stratified by type and angle, are the shared list for all priors and all metrics.
    """

    variant: str
    n_types: Count
    image_size: Annotated[int, Field(ge=16, le=256)]
    n_train: Count
    n_val: Count
    n_test: Count
    n_heldout: Annotated[int, Field(ge=8)]


class VAE(Section):
    """The autoencoder. Loss: per-pixel mean squared error + beta KL (nats, summed over the latent).

    `conditional: false` hides type and labels from encoder and decoder. `condition_dropout` is the share of training images
    whose condition is replaced by the null condition. `harmonics` is K in sin and cos of k m theta, k = 1 .. K. `free_bits` is
    a floor on the KL of each latent dimension, in nats. beta rises linearly from 0 over `kl_warmup_epochs`.
    """

    architecture: Literal["mlp", "conv"]
    conditional: bool
    condition_dropout: Share
    harmonics: Annotated[int, Field(ge=1, le=64)]
    latent_dim: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=16, le=8192)]
    beta: NonNegative
    free_bits: NonNegative
    kl_warmup_epochs: Annotated[int, Field(ge=0)]
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    precision: Precision


class Sample(Section):
    """Sampling: each method is drawn `draws` times for the held-out conditions, and its measures are averaged.

    Of priors that take steps, `sampler` names a step function, and `steps` is how often the network is asked. `curve` are the
    numbers of steps at which quality is drawn. `eta`: 0 is DDIM, 1 is DDPM. `guidance` w: x0 = x0(null) + w (x0(condition) -
    x0(null)); 1 is no guidance.
    """

    draws: Count
    sampler: str
    steps: Count
    eta: Annotated[float, Field(ge=0.0, le=1.0)]
    guidance: NonNegative
    curve: Annotated[list[Count], Field(min_length=1)]


class Metrics(Section):
    """How images and codes are measured.

    `theta_step` (degrees) and `aspect_step`: the grid of exact lattices that every image is compared with before refinement.
    `components` of a PCA of real pixels are what sets of images are compared by. `neighbours` k: for precision, recall and
    coverage. `candidates`: how many training samples, those nearest in condition, a sample is compared with to see whether it is
    a copy.
    """

    theta_step: Annotated[float, Field(gt=0.0, le=2.0)]
    aspect_step: Annotated[float, Field(gt=0.0, le=0.05)]
    components: Annotated[int, Field(ge=2, le=512)]
    neighbours: Count
    candidates: Count


class Floor(Section):
    """`draws`: how often the held-out conditions are drawn anew, to know what real images and their codes score."""

    draws: Annotated[int, Field(ge=2)]


class Evaluate(Section):
    """`bootstrap`: replicates behind each interval."""

    bootstrap: Annotated[int, Field(ge=100, le=10000)]


class PriorSection(Section):
    """The hyperparameters of one prior; each stands beside its prior, as ``Config`` in priors/NAME.py."""

    def broken_rules(self, _params: "Params") -> Iterator[str]:
        """What the rest of params.yaml does not allow, a message each: ``key = value: must be ...``."""
        yield from ()


class Params(Section):
    """All of params.yaml, and the rules that join its sections.

    `seed` fixes the data and everything that is measured on it. `training_seed` tells apart runs on the same data: it sets the
    initial weights, the batches and the noise of all trainings, and the samples. `priors` names the priors that a run makes; each
    has a section of its own name.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    training_seed: Annotated[int, Field(ge=0, lt=2**32)]
    priors: Annotated[list[str], Field(min_length=1)]
    data: Data
    vae: VAE
    sample: Sample
    metrics: Metrics
    floor: Floor
    evaluate: Evaluate

    @model_validator(mode="after")
    def _check_sections_agree(self) -> Self:
        priors = [self.of_prior(name) for name in self.priors if name in prior_names()]
        if broken := [*self._broken_rules(), *(rule for section in priors for rule in section.broken_rules(self))]:
            raise ValueError("; ".join(broken))
        return self

    def of_prior(self, name: str) -> PriorSection:
        """The section of the prior called `name`."""
        section: PriorSection = getattr(self, name)
        return section

    def excess(self, name: str, limit: str) -> Iterator[str]:
        """A broken rule if the value called `name` is more than that called `limit`."""
        value, most = attrgetter(name, limit)(self)
        if value > most:
            yield f"{name} = {value}: must be at most {limit} = {most}"

    def _broken_rules(self) -> Iterator[str]:
        data, vae = self.data, self.vae
        variants = import_module("toycrystals.crystals.variants").VARIANTS
        n_lattices = len(import_module("toycrystals.crystals.lattice").LATTICES)
        if data.variant not in variants:
            yield f"data.variant = {data.variant!r}: must be one of {', '.join(variants)}"
        if data.n_types > n_lattices:
            yield f"data.n_types = {data.n_types}: must be at most {n_lattices}, the number of lattice types"
        if vae.architecture == "conv" and data.image_size % 16:
            yield f"data.image_size = {data.image_size}: must be a multiple of 16 with vae.architecture = conv"
        yield from self.excess("vae.batch_size", "data.n_train")
        yield from self.excess("vae.kl_warmup_epochs", "vae.epochs")
        yield from self.excess("data.n_heldout", "data.n_test")
        ways = math.comb(self.sample.draws + self.floor.draws, self.sample.draws)
        if ways < _WAYS:
            yield (
                f"sample.draws = {self.sample.draws}: must be more, or floor.draws = {self.floor.draws} must, for of {ways} ways "
                f"to choose a method's draws no test tells anything after correction; it needs {_WAYS}"
            )
        for name in dict.fromkeys(self.priors):
            if self.priors.count(name) > 1:
                yield f"priors = {self.priors}: {name} is named twice"
            if name in ("real", "reconstruction", *Params.model_fields):
                yield f"priors = {self.priors}: {name} is the name of something else; give the prior another"
            if name not in prior_names():
                yield f"priors = {self.priors}: there is no prior {name!r}; there are {', '.join(prior_names())}"


@cache
def prior_names() -> tuple[str, ...]:
    """The priors that there are: the modules of priors/ but for what they share."""
    folder = Path(__file__).parents[1] / "priors"
    return tuple(sorted(path.stem for path in folder.glob("[!_]*.py") if path.stem not in _NO_PRIORS))


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`.

    Raises `UserError` with one line a mistake: the dotted name, the value received and what is allowed.
    """
    require_file(path, "the file of hyperparameters", "run from the project's root")
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{path}: expected YAML, {problem}{line}") from None
    return parse_params(content, str(path))


def parse_params(content: Any, source: str = "params.yaml") -> Params:
    """Check `content`, the tree of params.yaml, which has a section for each prior that it names; raises as `load_params`."""
    tree = content if isinstance(content, dict) else {}
    named = tree["priors"] if isinstance(tree.get("priors"), list) else []
    names = [name for name in prior_names() if name in named or name in tree]
    sections: dict[str, Any] = {name: (import_module(f"toycrystals.priors.{name}").Config, ...) for name in names}
    model = create_model("Params", __base__=Params, **sections)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError("\n".join(f"{source}: {_one_line(model, dict(detail))}" for detail in error.errors())) from None


def _one_line(model: type[Params], detail: dict[str, Any]) -> str:
    """One mistake: dotted name, value received, what is allowed."""
    name = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "missing":
            return f"{name}: missing; add it"
        case "extra_forbidden":
            return f"{name}: unknown key; known are {', '.join(_known_keys(model, detail['loc'][:-1])) or 'none'}"
        case "model_type":
            keys = ", ".join(_known_keys(model, detail["loc"]))
            allowed = f"a section with keys {keys}" if keys else "an empty section, {}"
            return f"{name or 'the file'} = {detail['input']!r}: must be {allowed}"
        case _:
            return f"{name} = {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    known: Any = model
    for part in location:
        known = known.model_fields[part].annotation
    return list(known.model_fields)
