"""Labels to a condition vector that knows each lattice's symmetry.

theta enters as sin and cos of k m theta, k = 1 .. K, with m the type's symmetry order: two angles that give the same image
give the same vector, and high harmonics let a decoder place atoms far from the centre. A raw angle can do neither.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from toycrystals.crystals.lattice import LATTICES, TYPES, wrapped
from toycrystals.crystals.variants import LABELS, VARIANTS
from toycrystals.runtime.errors import UserError

_THETA = LABELS.index("theta")
_CHUNK = 512


@dataclass(frozen=True)
class Conditions:
    """What is asked of N images: type int64 [N] and labels float32 [N, 4] (zero where the variant hides one)."""

    type: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.type)

    def __getitem__(self, index: slice | Tensor) -> "Conditions":
        return Conditions(self.type[index], self.labels[index])

    @classmethod
    def repeat(cls, variant: str, n_types: int, lattice_type: int, labels: Sequence[float], n: int) -> Self:
        """Return the same request `n` times: a type and (spacing, theta, vacancy, jitter) in pixels and radians.

        theta is brought into the variant's range by the type's symmetry. Raises `UserError` for a type or a value outside what
        models of the variant have seen; labels that the variant hides are ignored.
        """
        if lattice_type >= n_types:
            raise UserError(f"type {TYPES[lattice_type]}: the model knows {', '.join(TYPES[:n_types])}")
        ranges, values = VARIANTS[variant], list(labels)
        # A whole number of periods is no rotation, also where rounding leaves it just below one.
        period = LATTICES[lattice_type].period
        values[_THETA] %= period
        if period - values[_THETA] < 1e-6:
            values[_THETA] = 0.0
        for i, (name, visible) in enumerate(zip(LABELS, ranges.visible, strict=True)):
            low, high = getattr(ranges, name)
            if not visible:
                values[i] = 0.0
            elif not low <= values[i] <= high + 1e-6:
                scale, unit = (math.degrees(1.0), f" degrees, modulo {math.degrees(period):g}") if i == _THETA else (1.0, "")
                shown, low, high = (f"{scale * value:g}" for value in (values[i], low, high))
                raise UserError(f"{name} = {shown}{unit}: the model has seen {low} to {high}{unit} of {TYPES[lattice_type]}")
        return cls(torch.full((n,), lattice_type), torch.tensor(values).expand(n, -1).contiguous())

    def to(self, device: torch.device) -> "Conditions":
        """The same conditions on `device`."""
        return Conditions(self.type.to(device), self.labels.to(device))


class ConditionEncoder(nn.Module):
    """Conditions to vectors [N, features]; a learned null vector stands in where a condition is dropped or absent.

    With ``conditional=False`` every vector is the null vector, so that one code path serves all models.
    """

    symmetry_order: Tensor
    centre: Tensor
    half_width: Tensor

    def __init__(self, variant: str, n_types: int, harmonics: int, conditional: bool) -> None:
        super().__init__()
        self.n_types, self.harmonics, self.conditional = n_types, harmonics, conditional
        ranges = VARIANTS[variant]
        shown = [i for i, visible in enumerate(ranges.visible) if visible and i != _THETA]
        self.linear_labels = shown
        low, high = torch.tensor([getattr(ranges, LABELS[i]) for i in shown]).reshape(-1, 2).T
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        self.register_buffer("half_width", (high - low) / 2, persistent=False)
        orders = torch.tensor([float(lattice.symmetry_order) for lattice in LATTICES])
        self.register_buffer("symmetry_order", orders, persistent=False)
        self.features = n_types + 2 * harmonics + len(shown)
        self.null = nn.Parameter(torch.zeros(self.features))

    def forward(self, conditions: Conditions, present: Tensor | None = None) -> Tensor:
        """Vectors [N, features] of `conditions`; rows where `present` (bool [N]) is false get the null vector."""
        null = self.null.expand(len(conditions), -1)
        if not self.conditional:
            return null
        vectors = torch.cat(
            [
                nn.functional.one_hot(conditions.type, self.n_types).to(self.null.dtype),
                self.angle_features(conditions),
                (conditions.labels[:, self.linear_labels] - self.centre) / self.half_width,
            ],
            dim=1,
        )
        return vectors if present is None else torch.where(present[:, None], vectors, null)

    def angle_features(self, conditions: Conditions) -> Tensor:
        """sin and cos of k m theta for k = 1 .. K: [N, 2 K]."""
        k = torch.arange(1, self.harmonics + 1, device=conditions.type.device)
        # float64, reduced before the cast: at k m = 192 a float32 product would lose the last digits of the angle.
        phase = self.symmetry_order[conditions.type].double() * conditions.labels[:, _THETA].double()
        phase = torch.remainder(phase[:, None] * k, 2 * math.pi).to(self.null.dtype)
        return torch.cat([phase.sin(), phase.cos()], dim=1)


def keep_mask(n: int, dropout: float, generator: torch.Generator, device: torch.device) -> Tensor | None:
    """bool [n], false with probability `dropout`: which conditions a training step shows. None where nothing is dropped."""
    if dropout == 0.0:
        return None
    return torch.rand(n, generator=generator, device=generator.device).to(device) >= dropout


def rotation_sweep(variant: str, n_types: int, angles: int = 9) -> Conditions:
    """Every type at `angles` evenly spaced angles of the variant's range, both ends included, type by type.

    The other visible labels stay at the middle of their ranges.
    """
    ranges = VARIANTS[variant]
    middle = [(low + high) / 2 for low, high in (getattr(ranges, name) for name in LABELS)]
    labels = torch.tensor(middle).expand(n_types * angles, -1).clone()
    labels[:, _THETA] = torch.linspace(*ranges.theta, angles).repeat(n_types)
    types = torch.arange(n_types).repeat_interleave(angles)
    return Conditions(types, labels * torch.tensor(ranges.visible))


def label_offset(a: Tensor, b: Tensor, lattice_type: int, variant: str) -> Tensor:
    """a - b of labels of one type, [..., 4] each: the visible ones [..., V], each in units of its range.

    theta is compared on the circle of the type's symmetry period.
    """
    ranges, period = VARIANTS[variant], LATTICES[lattice_type].period
    offsets = []
    for column, (name, visible) in enumerate(zip(LABELS, ranges.visible, strict=True)):
        if visible:
            difference = a[..., column] - b[..., column]
            low, high = getattr(ranges, name)
            offsets.append((wrapped(difference, period) if name == "theta" else difference) / (high - low))
    return torch.stack(offsets, dim=-1) if offsets else (a - b)[..., :0]


def nearest_conditions(asked: Conditions, known: Conditions, variant: str, k: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of rows of `asked` [n] and, for each of them, the K `known` rows [n, K] of its type with the nearest visible labels.

    K is `k`, or as many as there are of the type. Where the variant shows no label but the type, nothing is nearer than anything
    else: then all rows of the type stand for each of the n, [M]. Raises `UserError` if a type has no known row.
    """
    pairs = []
    for lattice_type in sorted(set(asked.type.tolist())):
        pool = (known.type == lattice_type).nonzero().squeeze(1)
        if len(pool) == 0:
            raise UserError(f"no training sample is of type {TYPES[lattice_type]}; raise data.n_train")
        rows = (asked.type == lattice_type).nonzero().squeeze(1)
        for part in torch.tensor_split(rows, len(asked) // _CHUNK + 1):
            if not any(VARIANTS[variant].visible):
                pairs.append((part, pool))
                continue
            distance = label_offset(asked.labels[part, None], known.labels[pool], lattice_type, variant).norm(dim=-1)
            pairs.append((part, pool[distance.topk(min(k, len(pool)), dim=1, largest=False).indices]))
    return pairs
