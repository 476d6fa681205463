"""One loop for every model: a generator that yields records, so that callers log, draw and stop as they like.

The batch of a step and all of its noise are functions of (seed, step): a run that was resumed equals one that was not.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from toycrystals.core.device import autocast
from toycrystals.core.rng import NOISE, SHUFFLE, make_generator
from toycrystals.runtime.errors import UserError

# Steps between two readings of the current losses: each one waits for the device.
_REFRESH = 20


@dataclass(frozen=True)
class TrainingConfig:
    """`warmup_steps`: the learning rate rises linearly, then falls along a half cosine. `ema_decay` 0 is no average."""

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    dtype: torch.dtype
    ema_decay: float = 0.0
    warmup_steps: int = 200


@dataclass(frozen=True)
class Record:
    """One step: its number (from 0), its epoch, and the named parts of its loss as scalars on the training device."""

    step: int
    epoch: int
    losses: Mapping[str, Tensor]


# Sample indices [B], generator, epochs done so far (a fraction) -> named losses; "total" is minimised.
StepLoss = Callable[[Tensor, torch.Generator, float], Mapping[str, Tensor]]


class Trainer:
    """AdamW on `model` over `n` samples, with an exponential moving average of the weights."""

    def __init__(self, model: nn.Module, loss: StepLoss, n: int, config: TrainingConfig, device: torch.device) -> None:
        self.model, self.loss, self.n, self.config, self.device = model, loss, n, config, device
        self.steps_per_epoch = n // config.batch_size
        self.total_steps = self.steps_per_epoch * config.epochs
        self.step = 0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters] if config.ema_decay else []
        self.optimizer = torch.optim.AdamW(
            self.parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def run(self) -> Iterator[Record]:
        """Train from the current step to the end, a record a step."""
        self.model.train()
        while self.step < self.total_steps:
            epoch = self.step // self.steps_per_epoch
            for indices in self._batches(epoch)[self.step % self.steps_per_epoch :]:
                step = self.step
                yield Record(step, epoch, self._update(indices.to(self.device)))

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        """The epoch's sample indices [B], shuffled; a last, smaller batch is left out."""
        order = torch.randperm(self.n, generator=make_generator(self.config.seed, SHUFFLE, epoch))
        return tuple(order[: self.steps_per_epoch * self.config.batch_size].view(-1, self.config.batch_size))

    def _update(self, indices: Tensor) -> Mapping[str, Tensor]:
        config = self.config
        generator = make_generator(config.seed, NOISE, self.step, device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(self.step, self.total_steps, config.warmup_steps)
        with autocast(self.device, config.dtype):
            losses = self.loss(indices, generator, self.step / self.steps_per_epoch)
        torch.autograd.backward(losses["total"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average:
            # The average starts short, so that it forgets the initial weights.
            decay = min(config.ema_decay, self.step / (self.step + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1.0 - decay)
        return {name: value.detach() for name, value in losses.items()}

    def use_average(self) -> None:
        """Put the averaged weights into the model, if there is an average."""
        for parameter, average in zip(self.parameters, self.average, strict=bool(self.average)):
            parameter.data.copy_(average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the weights that `use_average` would give it, for a while: what is measured is what will stay."""
        kept = [p.detach().clone() for p in self.parameters] if self.average else []
        self.use_average()
        yield
        for parameter, trained in zip(self.parameters, kept, strict=bool(kept)):
            parameter.data.copy_(trained)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on as if nothing had happened; live, so copy it before training on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = [average.clone() for average in state["average"]]
        self.step = state["step"]


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps (a tenth of a short run), then a half cosine to zero."""
    warmup = max(1, min(warmup, total // 10))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def epoch_means(trainer: Trainer, label: str) -> Iterator[dict[str, float]]:
    """Run `trainer` with a progress bar on a terminal; yield an epoch's number (from 1) and mean losses, and print them.

    Raises `UserError` when a loss is no longer finite.
    """
    sums: dict[str, Tensor] = {}
    first = trainer.step
    bar = tqdm(trainer.run(), label, trainer.total_steps, unit="step", disable=not sys.stderr.isatty(), leave=False)
    for record in bar:
        for name, value in record.losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value
        if record.step % _REFRESH == 0 and not bar.disable:
            bar.set_postfix_str(_describe({name: value.item() for name, value in record.losses.items()}))
        if (record.step + 1) % trainer.steps_per_epoch == 0:
            means = {name: value.item() / (record.step + 1 - first) for name, value in sums.items()}
            if not all(map(math.isfinite, means.values())):
                raise UserError(f"{label}: the loss is {means['total']} in epoch {record.epoch + 1}; lower learning_rate")
            bar.write(f"{label}: epoch {record.epoch + 1}/{trainer.config.epochs}, {_describe(means)}", file=sys.stderr)
            yield {"epoch": record.epoch + 1, **means}
            sums, first = {}, record.step + 1


def _describe(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
