"""params.yaml to frozen, validated sections: the only place that says what a hyperparameter means and may be.

The file is read as YAML 1.2 by the parser that DVC itself uses, so that ``1e-5`` is a number for both. All sections are
checked whichever one a stage asks for, so that a mistake ends a run before any work begins.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from toycrystals.errors import UserError

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Precision = Literal["auto", "bf16", "fp32"]


class Section(BaseModel):
    """Immutable; unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """The dataset: `variant` fixes which factors vary and which the labels show, `n_types` takes the first of the lattices."""

    variant: Literal["simple", "rot_only", "full"]
    n_types: Annotated[int, Field(ge=1, le=4)]
    image_size: Annotated[int, Field(ge=16, le=256)]
    n_train: Count
    n_val: Count
    n_test: Count


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


def _no_number(value: Any) -> Any:
    """Refuse 1 and 0, which Python takes for True and False."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("bool_or_auto", "input should be True, False or 'auto'")
    return value


class Diffusion(Section):
    """The latent diffusion prior.

    `conditional: auto` follows the VAE. `train_on`: posterior means, or fresh posterior samples every step. `posterior_width`: a
    conditional prior trained on means gives its codes this share of the posterior's noise. `scaling`: latents are divided by one
    measured number, or by one a dimension. `timesteps` T: the number of levels of the linear schedule and
    the most steps that a sampler may take. `prediction`: what the network's output means.
    """

    conditional: Annotated[Literal[True, False, "auto"], BeforeValidator(_no_number)]
    condition_dropout: Share
    train_on: Literal["means", "samples"]
    posterior_width: Annotated[float, Field(ge=0.0, le=1.0)]
    scaling: Literal["global", "per_dimension"]
    schedule: Literal["linear", "cosine"]
    timesteps: Annotated[int, Field(ge=2, le=10000)]
    prediction: Literal["eps", "x0", "v"]
    harmonics: Annotated[int, Field(ge=1, le=64)]
    width: Annotated[int, Field(ge=16, le=4096)]
    blocks: Annotated[int, Field(ge=1, le=64)]
    ema_decay: Share
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    precision: Precision

    def sees_conditions(self, vae: bool) -> bool:
        """Whether the prior is told the condition, `vae` being whether the VAE is."""
        return vae if self.conditional == "auto" else bool(self.conditional)


class Mop(Section):
    """The mixture of posteriors: an exemplar is drawn among the `neighbours` training samples nearest to the request."""

    neighbours: Count


class Sample(Section):
    """Sampling: `n` test conditions, stratified by type and angle, are the shared list for all priors and all metrics.

    For every fourth of them `draws` codes more are drawn, for scores of the whole distribution p(z | c). `steps` is what the
    diffusion sampler takes; `curve` are the numbers of steps at which its quality is drawn.

    `eta`: 0 is DDIM, 1 is DDPM. `guidance` w: x0 = x0(null) + w (x0(condition) - x0(null)); 1 is no guidance.
    """

    n: Annotated[int, Field(ge=8)]
    draws: Annotated[int, Field(ge=2)]
    steps: Count
    curve: Annotated[list[Count], Field(min_length=1)]
    eta: Annotated[float, Field(ge=0.0, le=1.0)]
    guidance: NonNegative


class Features(Section):
    """What images are compared by: `components` of a PCA of real pixels, and a network that learns the factors of real images.

    `width` is the number of the network's features; it trains for `epochs` on the training split.
    """

    components: Annotated[int, Field(ge=2, le=512)]
    width: Annotated[int, Field(ge=8, le=1024)]
    epochs: Count
    batch_size: Count
    learning_rate: Positive


class Evaluate(Section):
    """How samples are measured.

    `theta_step` (degrees) and `aspect_step`: the grid of exact lattices that every image is compared with before refinement.
    `bootstrap`: replicates behind each interval. `floor_draws`: how often the held-out conditions are drawn anew, to know what
    real images score. `neighbours` k: for precision, recall, density and coverage. `candidates`: how many training samples, those
    nearest in condition, a sample is compared with to see whether it is a copy.
    """

    theta_step: Annotated[float, Field(gt=0.0, le=2.0)]
    aspect_step: Annotated[float, Field(gt=0.0, le=0.05)]
    bootstrap: Annotated[int, Field(ge=100, le=10000)]
    floor_draws: Annotated[int, Field(ge=2)]
    neighbours: Count
    candidates: Count


class Params(Section):
    """All of params.yaml, and the rules that join its sections.

    `seed` fixes the data and everything that is measured on it. `training_seed` tells apart runs on the same data: it sets the
    initial weights, the batches and the noise of both trainings, and the samples.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    training_seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    vae: VAE
    diffusion: Diffusion
    mop: Mop
    sample: Sample
    features: Features
    evaluate: Evaluate

    @model_validator(mode="after")
    def _check_sections_agree(self) -> Self:
        data, vae, diffusion, sample = self.data, self.vae, self.diffusion, self.sample
        rules = (
            (
                vae.architecture == "mlp" or data.image_size % 16 == 0,
                f"data.image_size = {data.image_size}: must be a multiple of 16 with vae.architecture = conv",
            ),
            *(
                (
                    section.batch_size <= data.n_train,
                    f"{name}.batch_size = {section.batch_size}: must be at most data.n_train = {data.n_train}",
                )
                for name, section in (("vae", vae), ("diffusion", diffusion), ("features", self.features))
            ),
            (
                vae.kl_warmup_epochs <= vae.epochs,
                f"vae.kl_warmup_epochs = {vae.kl_warmup_epochs}: must be at most vae.epochs = {vae.epochs}",
            ),
            (
                self.mop.neighbours <= data.n_train,
                f"mop.neighbours = {self.mop.neighbours}: must be at most data.n_train = {data.n_train}",
            ),
            (
                self.mop.neighbours <= self.evaluate.candidates,
                f"mop.neighbours = {self.mop.neighbours}: must be at most evaluate.candidates = {self.evaluate.candidates}",
            ),
            (sample.n <= data.n_test, f"sample.n = {sample.n}: must be at most data.n_test = {data.n_test}"),
            (
                sample.steps <= diffusion.timesteps,
                f"sample.steps = {sample.steps}: must be at most diffusion.timesteps = {diffusion.timesteps}",
            ),
            (
                max(sample.curve) <= diffusion.timesteps,
                f"sample.curve = {sample.curve}: no number may be above diffusion.timesteps = {diffusion.timesteps}",
            ),
            (
                sample.guidance == 1.0 or (self.prior_is_conditional and diffusion.condition_dropout > 0.0),
                f"sample.guidance = {sample.guidance}: must be 1, or a conditional prior needs diffusion.condition_dropout > 0",
            ),
        )
        broken = [message for holds, message in rules if not holds]
        if broken:
            raise ValueError("; ".join(broken))
        return self

    @property
    def prior_is_conditional(self) -> bool:
        """Whether the diffusion prior is told the condition."""
        return self.diffusion.sees_conditions(self.vae.conditional)


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `path`.

    Raises `UserError` with one line a mistake: the dotted name, the value received and what is allowed.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: expected the file of hyperparameters, found nothing; run from the project's root") from None
    except (YAMLError, UnicodeDecodeError) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{path}: expected YAML, {problem}{line}") from None
    return parse_params(content, str(path))


def parse_params(content: Any, source: str = "params.yaml") -> Params:
    """Check `content`, the tree of params.yaml. Raises as `load_params`."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError("\n".join(f"{source}: {_one_line(dict(detail))}" for detail in error.errors())) from None


def _one_line(detail: dict[str, Any]) -> str:
    """One mistake: dotted name, value received, what is allowed."""
    name = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "missing":
            return f"{name}: missing; add it"
        case "extra_forbidden":
            return f"{name}: unknown key; known are {', '.join(_known_keys(detail['loc'][:-1]))}"
        case "model_type":
            keys = ", ".join(_known_keys(detail["loc"]))
            return f"{name or 'the file'} = {detail['input']!r}: must be a section with keys {keys}"
        case _:
            return f"{name} = {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    model: Any = Params
    for part in location:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
