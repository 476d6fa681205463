"""Factors of variation to images and labels: a sample is a pure function of (seed, split, index).

Block b of `BLOCK` samples draws from its own ``SeedSequence(seed, spawn_key=(split, b))``, so splits are disjoint, a short
dataset is a prefix of a long one, and any block can be made on the fly, in any order, on any machine.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from toycrystals.core.device import available_cores
from toycrystals.crystals.lattice import LATTICES, place
from toycrystals.crystals.render import CUTOFF, atom_sigma, errors, render, render_uint8
from toycrystals.crystals.variants import FACTORS, LABELS, VARIANTS
from toycrystals.runtime.errors import UserError

BLOCK = 1024
# `redraw` draws the factors that no label shows anew, for the conditions of the test split.
SPLITS = {"train": 0, "val": 1, "test": 2, "redraw": 3}
# Jitter is normal; beyond this many standard deviations no site needs to be looked for outside the image.
_JITTER_SIGMAS = 6.0


@dataclass(frozen=True)
class DatasetSpec:
    """What determines every sample: the variant, the number of lattice types (the first of `TYPES`), the size, the seed."""

    variant: str
    n_types: int
    image_size: int
    seed: int

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the central site, in pixels."""
        return self.image_size / 2, self.image_size / 2


@dataclass(frozen=True)
class Samples:
    """N images with what a model may see of them (type, labels) and the whole truth (factors).

    images uint8 [N, 1, H, W]; type int64 [N]; labels float32 [N, 4], zero where the variant hides one; factors float32 [N, 5].
    """

    images: NDArray[np.uint8]
    type: NDArray[np.int64]
    labels: NDArray[np.float32]
    factors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.type)

    def __getitem__(self, index: slice | NDArray[np.integer]) -> "Samples":
        return Samples(*(getattr(self, field.name)[index] for field in fields(self)))


def tensor_shapes(n: int, image_size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of the fields of `n` samples."""
    return {
        "images": ("uint8", (n, 1, image_size, image_size)),
        "type": ("int64", (n,)),
        "labels": ("float32", (n, len(LABELS))),
        "factors": ("float32", (n, len(FACTORS))),
    }


def load_samples(tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> tuple[Samples, DatasetSpec]:
    """Samples, and what they were drawn from, from the tensors and metadata of a dataset's file."""
    return Samples(*(tensors[field.name].numpy() for field in fields(Samples))), DatasetSpec(**meta["spec"])


def site_radius(image_size: int, spacing: NDArray[np.float64], jitter: float = 0.0) -> float:
    """How far from the centre, in spacings, a site can lie whose atom reaches a pixel; `spacing` [n] and `jitter` in pixels."""
    corner = image_size / 2 * np.sqrt(2.0)
    return float(np.max((corner + CUTOFF * atom_sigma(spacing) + jitter) / spacing))


def to_unit_interval(images: torch.Tensor) -> torch.Tensor:
    """uint8 -> float32 in [0, 1]."""
    return images.float() / 255.0


@lru_cache(maxsize=64)
def _unit_sites(lattice_type: int, variant: str, image_size: int) -> NDArray[np.float64]:
    """Every site that can reach a pixel at any spacing, rotation, aspect and jitter of the variant."""
    ranges, lattice = VARIANTS[variant], LATTICES[lattice_type]
    radius = site_radius(image_size, np.linspace(*ranges.spacing, 17), _JITTER_SIGMAS * ranges.jitter[1])
    sites = lattice.unit_sites(radius, lattice.aspect_range[0])
    sites.setflags(write=False)
    return sites


def draw_factors(rng: np.random.Generator, variant: str, types: NDArray[np.int64]) -> NDArray[np.float64]:
    """Factors [N, 5], in the order of `FACTORS`, for crystals of `types` [N]; aspect is 1 for all types but rectangular."""
    n = len(types)
    columns = [rng.uniform(low, high, size=n) for low, high in (getattr(VARIANTS[variant], name) for name in LABELS)]
    low, high = (np.array(bounds)[types] for bounds in zip(*(lattice.aspect_range for lattice in LATTICES), strict=True))
    return np.stack([*columns, low + (high - low) * rng.uniform(size=n)], axis=1)


def make_block(spec: DatasetSpec, split: str, index: int, n: int = BLOCK) -> Samples:
    """The first `n` samples of block `index` of `split`."""
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(SPLITS[split], index)))
    types = rng.integers(spec.n_types, size=BLOCK)
    factors = draw_factors(rng, spec.variant, types)
    images = np.empty((n, 1, spec.image_size, spec.image_size), dtype=np.uint8)
    for k in range(spec.n_types):
        rows = np.flatnonzero(types == k)
        sites, present = _disturbed_sites(rng, spec, k, factors[rows])
        kept = rows < n
        sigma = atom_sigma(factors[rows, 0])
        images[rows[kept], 0] = render_uint8(sites[kept], sigma[kept], spec.image_size, present[kept])
    labels = np.where(VARIANTS[spec.variant].visible, factors[:, :4], 0.0)
    return Samples(images, types[:n], labels[:n].astype(np.float32), factors[:n].astype(np.float32))


def _disturbed_sites(
    rng: np.random.Generator, spec: DatasetSpec, lattice_type: int, factors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sites [B, S, 2] with jitter and the mask [B, S] of those that are no vacancies; draws nothing where both are off."""
    spacing, theta, vacancy, jitter, aspect = factors.T
    sites = place(_unit_sites(lattice_type, spec.variant, spec.image_size), spacing, theta, aspect, spec.centre)
    present = np.ones(sites.shape[:2], dtype=np.bool_)
    ranges = VARIANTS[spec.variant]
    if ranges.vacancy[1] > 0.0:
        present = rng.random(sites.shape[:2]) >= vacancy[:, None]
    if ranges.jitter[1] > 0.0:
        sites += jitter[:, None, None] * rng.standard_normal(sites.shape)
    return sites, present


def blocks(spec: DatasetSpec, split: str, n: int) -> Iterator[Samples]:
    """The first `n` samples of `split`, block by block and in order, rendered by as many threads as there are cores.

    Holds a few blocks at a time, whatever `n` is.
    """
    workers = available_cores()
    with ThreadPoolExecutor(workers) as executor:
        pending: deque[Future[Samples]] = deque()
        for index, start in enumerate(range(0, n, BLOCK)):
            pending.append(executor.submit(make_block, spec, split, index, min(BLOCK, n - start)))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def make_samples(spec: DatasetSpec, split: str, n: int) -> Samples:
    """The first `n` samples of `split`, in memory."""
    parts = list(blocks(spec, split, n))
    return Samples(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Samples)))


def redraw(spec: DatasetSpec, types: NDArray[np.int64], factors: NDArray[np.float32], draw: int = 0) -> Samples:
    """Independent samples of the given conditions: what labels show is kept, all that they hide is drawn anew.

    `types` [N] and `factors` [N, 5] as in `Samples`; each `draw` is independent of the others. They are the floor of every
    comparison with real images.
    """
    visible = np.array([*VARIANTS[spec.variant].visible, False])
    images = np.empty((len(types), 1, spec.image_size, spec.image_size), dtype=np.uint8)
    truth = np.empty((len(types), len(FACTORS)))
    for k in range(spec.n_types):
        rows = np.flatnonzero(types == k)
        rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(SPLITS["redraw"], draw, k)))
        truth[rows] = np.where(visible, factors[rows], draw_factors(rng, spec.variant, types[rows]))
        for part in np.array_split(rows, len(rows) // BLOCK + 1):
            sites, present = _disturbed_sites(rng, spec, k, truth[part])
            images[part, 0] = render_uint8(sites, atom_sigma(truth[part, 0]), spec.image_size, present)
    labels = np.where(visible[:4], truth[:, :4], 0.0)
    return Samples(images, types, labels.astype(np.float32), truth.astype(np.float32))


def exact_images(
    lattice_type: int, spacing: NDArray[np.floating], theta: NDArray[np.floating], aspect: NDArray[np.floating], image_size: int
) -> NDArray[np.float32]:
    """Perfect crystals of one type, no vacancy, no jitter: float32 [B, H, W] with maximum 1.

    `spacing` [B] in pixels, `theta` [B] in radians, `aspect` [B].
    """
    return render(*_exact_atoms(lattice_type, spacing, theta, aspect, image_size), image_size)


def exact_bytes(
    lattice_type: int, spacing: NDArray[np.floating], theta: NDArray[np.floating], aspect: NDArray[np.floating], image_size: int
) -> NDArray[np.uint8]:
    """`exact_images` as the dataset stores them: uint8 [B, H, W]."""
    return render_uint8(*_exact_atoms(lattice_type, spacing, theta, aspect, image_size), image_size)


def exact_errors(
    images: NDArray[np.float32], lattice_type: int, spacing: NDArray[np.floating], theta: NDArray[np.floating],
    aspect: NDArray[np.floating],
) -> NDArray[np.float64]:  # fmt: skip
    """Mean squared error [B] a pixel between images [B, H, W] in [0, 1] and `exact_images` of the other arguments."""
    return errors(images, *_exact_atoms(lattice_type, spacing, theta, aspect, images.shape[-1]))


def _exact_atoms(
    lattice_type: int, spacing: NDArray[np.floating], theta: NDArray[np.floating], aspect: NDArray[np.floating], image_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sites [B, S, 2] and atom widths [B] of perfect crystals."""
    spacing, theta, aspect = (np.asarray(v, dtype=np.float64) for v in (spacing, theta, aspect))
    if len(spacing) == 0:
        return np.empty((0, 0, 2)), np.empty(0)
    # One table for all that share a radius up to rounding, so that it is built once.
    radius = np.ceil(site_radius(image_size, spacing) * 4) / 4
    unit = _table(lattice_type, radius, min(1.0, float(np.floor(aspect.min() * 20) / 20)))
    return place(unit, spacing, theta, aspect, (image_size / 2, image_size / 2)), atom_sigma(spacing)


@lru_cache(maxsize=256)
def _table(lattice_type: int, radius: float, aspect: float) -> NDArray[np.float64]:
    return LATTICES[lattice_type].unit_sites(radius, aspect)


def to_pt_dict(samples: Samples) -> dict[str, torch.Tensor]:
    """The dictionary that the toy-crystals scripts read: x_u8 uint8 [N, 1, H, W], y_cat int64 [N], y_cont float32 [N, 4]."""
    arrays = {"x_u8": samples.images, "y_cat": samples.type, "y_cont": samples.labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def from_pt_dict(content: dict[str, Any], source: str) -> Samples:
    """Samples from such a dictionary; it holds no factors, so they are NaN.

    Raises `UserError`, naming `source`, if a key is missing or a tensor has another dtype or shape.
    """
    expected = {"x_u8": (torch.uint8, 4), "y_cat": (torch.int64, 1), "y_cont": (torch.float32, 2)}
    for name, (dtype, ndim) in expected.items():
        found = content.get(name)
        if not isinstance(found, torch.Tensor) or found.dtype != dtype or found.ndim != ndim:
            came = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
            raise UserError(f"{source}: expected {name} to be a {ndim}-dimensional {dtype} tensor, found {came}")
    images, types, labels = (content[name].detach().numpy() for name in expected)
    n = len(types)
    if images.shape[:2] != (n, 1) or images.shape[2] != images.shape[3] or labels.shape != (n, len(LABELS)):
        raise UserError(
            f"{source}: expected shapes [N, 1, H, H], [N], [N, 4], found {images.shape}, {types.shape}, {labels.shape}"
        )
    if n == 0 or types.min() < 0 or types.max() >= len(LATTICES) or not np.isfinite(labels).all():
        raise UserError(f"{source}: expected one or more samples with y_cat from 0 to {len(LATTICES) - 1} and finite y_cont")
    return Samples(images, types, labels, np.full((n, len(FACTORS)), np.nan, dtype=np.float32))


class OnTheFlyDataset(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Samples made when they are asked for, without any file: item i is (image float32 [1, H, W] in [0, 1], type, labels [4]).

    Item i equals sample i of the dataset on disk. The most recent `cached_blocks` blocks of 1,024 images stay in memory.
    """

    def __init__(self, spec: DatasetSpec, split: str, n: int, cached_blocks: int = 64) -> None:
        self.spec, self.split, self.n = spec, split, n
        self.cached_blocks = cached_blocks
        self._block = lru_cache(maxsize=cached_blocks)(partial(make_block, spec, split))

    def __reduce__(self) -> tuple[type, tuple[DatasetSpec, str, int, int]]:
        # A worker process makes its own blocks: the cache does not travel.
        return type(self), (self.spec, self.split, self.n, self.cached_blocks)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not 0 <= i < self.n:
            raise IndexError(f"index {i} is outside a dataset of {self.n} samples")
        index, row = divmod(i, BLOCK)
        block = self._block(index)
        image = to_unit_interval(torch.from_numpy(block.images[row]))
        return image, torch.tensor(block.type[row]), torch.tensor(block.labels[row])
