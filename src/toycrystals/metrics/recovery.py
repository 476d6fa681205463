"""Ground truth from images alone: type, spacing, theta, aspect and vacancies of the lattice in each image, or why there is none.

Templates of a coarse grid give candidates of every type; each is moved onto the atoms of its image by a few steps of least
squares; and the types are compared by what their best lattice leaves unexplained, 1 - NCC, lattices being drawn without the
atoms that the image lacks.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toycrystals.crystals.dataset import site_radius
from toycrystals.crystals.lattice import LATTICES, place
from toycrystals.crystals.render import atom_sigma, render
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.atoms import correlation, normal_equations, presence
from toycrystals.metrics.matching import by_type, standardise
from toycrystals.metrics.templates import Hits, Templates

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Types = NDArray[np.int64]
Rows = NDArray[np.intp]

REASONS = ("ok", "not_finite", "blank", "faint", "no_lattice")
_OK, _NOT_FINITE, _BLANK, _FAINT, _NO_LATTICE = range(len(REASONS))
# The least range of a picture, and the least maximum of a crystal; images of the dataset reach 1.
BLANK, FAINT = 1e-3, 0.25
# NCC below which an image holds no lattice: in variants of perfect crystals, where real images have 0.999 and more, and where
# vacancies and jitter lower it (64 pixels: 0.48 and more in 11,000 real images; noise, blobs and random fields below 0.40).
NO_LATTICE, NO_LATTICE_DISTURBED = 0.9, 0.45

_BLOCK = 1024
# Candidates of a type must come this near to the best template's NCC.
_RIVAL, _RIVAL_DISTURBED = 0.1, 0.2
_RANKS = 2
_STEPS, _STEPS_DISTURBED = 2, 5
# The largest move of one step in log spacing, theta and aspect.
_TRUST = np.array([0.05, math.radians(3.0), 0.06])
# A free aspect always explains a square a little better. What it leaves unexplained, 1 - NCC, must be less by this factor;
# where every atom has a displacement of its own, by this much in log-likelihood, n log(1 - NCC) for n atoms. A gain below what
# rounding to 256 levels leaves unexplained is none.
_ASPECT_GAIN, _ASPECT_EVIDENCE, _ROUNDING = 1.1, 4.0, 3e-5
# A rectangular lattice whose aspect is nearer to 1 is called square: on 64 pixels its outermost atoms move by 0.08 px.
ASPECT_RESOLUTION = 0.0025


@dataclass(frozen=True)
class Recovered:
    """What each of N images shows; every field is [N], and none but `vacancy` is ever NaN.

    `type`, `spacing` (pixels), `theta` (radians, in [0, symmetry period)), `aspect` and `ncc` describe the lattice found;
    `vacancy` is the share of its sites inside the image that have no atom, NaN in variants without vacancies and for images
    that were not searched. `reason` indexes `REASONS`: all but "ok" hold no lattice; the first three that say so were not
    searched, and have NCC 0 and arbitrary factors. `asked_*` describe the best lattice of the type that was asked for.
    """

    type: Types
    spacing: Floats
    theta: Floats
    aspect: Floats
    vacancy: Floats
    ncc: Floats
    reason: Types
    asked_spacing: Floats
    asked_theta: Floats
    asked_aspect: Floats
    asked_ncc: Floats


class LatticeRecovery:
    """Recovers lattices among all types, spacings, angles and aspects that a variant of the dataset can have.

    The search starts from a grid of `theta_step` degrees by `aspect_step`; where the spacing is free, no finer than 2 degrees
    by 0.04. Answers are not rounded to it.
    """

    def __init__(self, variant: str, n_types: int, image_size: int, theta_step: float, aspect_step: float) -> None:
        ranges = VARIANTS[variant]
        self.n_types, self.image_size, self.spacing_range = n_types, image_size, ranges.spacing
        self.free_spacing = ranges.spacing[0] < ranges.spacing[1]
        self.disturbed = ranges.vacancy[1] > 0.0
        self.threshold = NO_LATTICE_DISTURBED if self.disturbed else NO_LATTICE
        self.templates = Templates(variant, n_types, image_size, theta_step, aspect_step)
        radius = site_radius(image_size, np.array(ranges.spacing))
        self.unit_sites = [lattice.unit_sites(radius, lattice.aspect_range[0]) for lattice in LATTICES[:n_types]]

    def __call__(self, images: Pixels, asked: Types | None = None) -> Recovered:
        """The lattices of images float32 [N, H, W], whatever they are; `asked` [N] is the type that each was made for.

        Raises ValueError for images of another size and for types that are not searched.
        """
        if images.ndim != 3 or images.shape[1:] != (self.image_size, self.image_size):
            raise ValueError(f"expected images [N, {self.image_size}, {self.image_size}], got {images.shape}")
        if asked is not None and (asked.shape != images.shape[:1] or np.any((asked < 0) | (asked >= self.n_types))):
            raise ValueError(f"expected {len(images)} types from 0 to {self.n_types - 1}, got {asked}")
        reason = _readable(images)
        found = np.tile([0.0, self.spacing_range[0], 0.0, 1.0, 0.0, math.nan], (2, len(images), 1))
        readable = np.flatnonzero(reason == _OK)
        for rows in (readable[i : i + _BLOCK] for i in range(0, len(readable), _BLOCK)):
            found[:, rows] = self._recover(images[rows], None if asked is None else asked[rows])
        reason[(reason == _OK) & (found[0, :, 4] < self.threshold)] = _NO_LATTICE
        (types, spacing, theta, aspect, ncc, vacancy), (_, *asked_lattice, _) = found.transpose(0, 2, 1)
        return Recovered(types.astype(np.int64), spacing, theta, aspect, vacancy, ncc, reason, *asked_lattice)

    def _recover(self, images: Pixels, asked: Types | None) -> Floats:
        """Found and asked lattice of each image [n, H, W]: [2, n, 6], type, spacing, theta, aspect, NCC, vacancy."""
        images = images / np.abs(images).max(axis=(1, 2), keepdims=True)
        light = images.clip(0.0) - images.clip(0.0).min(axis=(1, 2), keepdims=True)
        light /= np.maximum(light.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
        scene = _Scene(standardise(images), light)
        image, types, lattice = self._candidates(self.templates.search(images), asked)
        explained = self._explain(scene, image, types, lattice)
        if self.free_spacing:
            image, types, explained = self._with_sides_exchanged(scene, image, types, explained)
        best = np.full((self.n_types, len(images), 6), math.nan)
        residual = np.full((self.n_types, len(images)), math.inf)
        order = np.argsort(-explained[:, 5], kind="stable")  # the last written stays
        at = types[order], image[order]
        best[at], residual[at] = np.column_stack([types, explained[:, :5]])[order], explained[order, 5]
        winner, every = residual.argmin(axis=0), np.arange(len(images))
        return np.stack([best[winner, every], best[winner if asked is None else asked, every]])

    def _candidates(self, hits: Hits, asked: Types | None) -> tuple[Rows, Types, Floats]:
        """Where to start: image [C], type [C] and lattice [C, 3]; at least the type of the best template and the asked one."""
        bound = hits.ncc.max(axis=1, keepdims=True) - (_RIVAL_DISTURBED if self.disturbed else _RIVAL)
        parts = []
        for k in range(self.n_types):
            columns = np.flatnonzero(hits.type == k)
            ncc = hits.ncc[:, columns]
            padded = np.pad(ncc, ((0, 0), (1, 1)), constant_values=-2.0)
            peak = np.where((ncc >= padded[:, :-2]) & (ncc > padded[:, 2:]), ncc, -2.0)
            wanted = peak >= bound if asked is None else (peak >= bound) | ((asked == k)[:, None] & (peak > -2.0))
            order = np.argsort(-peak, axis=1, kind="stable")[:, :_RANKS]
            image, rank = np.nonzero(np.take_along_axis(wanted, order, axis=1))
            parts.append((image, np.full(len(image), k), hits.lattice[image, columns[order[image, rank]]]))
        image, types, lattice = (np.concatenate(part) for part in zip(*parts, strict=True))
        return image, types, lattice

    def _explain(self, scene: "_Scene", image: Rows, types: Types, lattice: Floats) -> Floats:
        """Refine lattices [C, 3] of `types` [C] in `image` [C]: [C, 7], spacing, theta, aspect, NCC; `_residual`."""
        explained = np.empty((len(image), 7))

        def explain(k: int, rows: Rows) -> None:
            refined, ncc = self._refine(scene, image[rows], k, lattice[rows])
            residual = self._residual(scene, image[rows], k, refined, ncc)
            refined[:, 1] %= LATTICES[k].period
            refined[refined[:, 1] >= LATTICES[k].period, 1] = 0.0  # a remainder of -1e-17 rounds up to the period
            explained[rows] = np.column_stack([refined, ncc, *residual])

        by_type(explain, types)
        return explained

    def _with_sides_exchanged(self, scene: "_Scene", image: Rows, types: Types, explained: Floats) -> tuple[Rows, Types, Floats]:
        """Add the same points with the two sides exchanged, where the variant can have them; of such a pair, keep the better one.

        Only the width of the atoms tells which side is the spacing.
        """
        spacing, theta, aspect = explained[:, :3].T
        exchanged = np.stack([spacing * aspect, theta + math.pi / 2, 1.0 / aspect], axis=1)
        low, high = np.array([kind.aspect_range for kind in LATTICES])[types].T
        within = (exchanged[:, 0] >= self.spacing_range[0]) & (exchanged[:, 0] <= self.spacing_range[1])
        pair = np.flatnonzero(within & (exchanged[:, 2] >= low) & (exchanged[:, 2] <= high) & (low < high))
        other = self._explain(scene, image[pair], types[pair], exchanged[pair])
        better = other[:, 6] > explained[pair, 6]
        explained[pair[better], 5], other[~better, 5] = math.inf, math.inf
        return np.concatenate([image, image[pair]]), np.concatenate([types, types[pair]]), np.concatenate([explained, other])

    def _refine(self, scene: "_Scene", image: Rows, k: int, start: Floats) -> tuple[Floats, Floats]:
        """Lattices [B, 3] moved from `start` onto the atoms of their images, and their NCC [B], never below that of `start`."""
        free = [i for i, is_free in enumerate((self.free_spacing, True, LATTICES[k].has_aspect)) if is_free]
        low, high = zip(self.spacing_range, (-math.inf, math.inf), LATTICES[k].aspect_range, strict=True)
        moved = start.copy()
        for _ in range(_STEPS_DISTURBED if self.disturbed else _STEPS):
            spacing, theta, _ = moved.T
            along = (spacing[:, None] * self.unit_sites[k][:, 1])[..., None]
            directions = along * np.stack([-np.sin(theta), np.cos(theta)], axis=1)[:, None]  # [B, S, 2]
            hessian, gradient = normal_equations(scene.light, image, self._sites(k, moved), directions, atom_sigma(spacing))
            step = np.zeros_like(moved)
            step[:, free] = _solve(hessian[:, free][:, :, free], gradient[:, free])
            step = step.clip(-_TRUST, _TRUST)
            step[:, 0] = spacing * np.expm1(step[:, 0])
            moved = (moved + step).clip(low, high)
        before, after = (self._ncc(scene, image, self._sites(k, p), p[:, 0]) for p in (start, moved))
        worse = after < before
        moved[worse], after[worse] = start[worse], before[worse]
        return moved, after

    def _residual(self, scene: "_Scene", image: Rows, k: int, lattice: Floats, ncc: Floats) -> tuple[Floats, Floats, Floats]:
        """Vacancy [B], what lattices [B, 3] leave unexplained [B], to compare types by, and the NCC of their atoms [B].

        Where there are no vacancies, the first is NaN and the last that of the lattice. Jitter makes wider atoms correlate
        better with a lattice, so to compare widths every atom is drawn where it is seen.
        """
        sites, spacing, vacancy = self._sites(k, lattice), lattice[:, 0], np.full(len(lattice), math.nan)
        atoms_ncc, n_inside = ncc, np.sum(np.all((sites >= -0.5) & (sites <= self.image_size - 0.5), axis=2), axis=1)
        if self.disturbed:
            present, atoms = presence(scene.light, image, sites, atom_sigma(spacing))
            vacancy = np.sum(~present, axis=1) / n_inside
            ncc, atoms_ncc = (self._ncc(scene, image, where, spacing, present) for where in (sites, atoms))
        residual = 1.0 - ncc + _ROUNDING
        if LATTICES[k].has_aspect:
            residual *= np.exp(_ASPECT_EVIDENCE / n_inside) if self.disturbed else _ASPECT_GAIN
            residual += np.abs(lattice[:, 2] - 1.0) < ASPECT_RESOLUTION
        return vacancy, residual, atoms_ncc

    def _ncc(
        self, scene: "_Scene", image: Rows, sites: Floats, spacing: Floats, present: NDArray[np.bool_] | None = None
    ) -> Floats:
        ncc: Floats = correlation(scene.standard, image, render(sites, atom_sigma(spacing), self.image_size, present))
        return ncc

    def _sites(self, k: int, lattice: Floats) -> Floats:
        """Pixel coordinates of all sites that lattices [B, 3] of type k can have in an image or near it: [B, S, 2]."""
        spacing, theta, aspect = lattice.T
        return place(self.unit_sites[k], spacing, theta, aspect, (self.image_size / 2, self.image_size / 2))


class _Scene(NamedTuple):
    """Images: `standard` [n, H W] for NCC; `light` [n, H, W], background 0 and maximum 1, for amplitudes."""

    standard: Pixels
    light: Pixels


def _readable(images: Pixels) -> Types:
    """The reason [N] not to search an image, or "ok"."""
    # NaN where a pixel is, and float64, for the range of float32 images may be beyond float32.
    high, low = (reduce(images, axis=(1, 2)).astype(np.float64) for reduce in (np.max, np.min))
    finite = np.isfinite(high) & np.isfinite(low)
    blank = finite & (np.subtract(high, low, where=finite, out=np.ones_like(high)) < BLANK)
    return np.select([~finite, blank, high < FAINT], [_NOT_FINITE, _BLANK, _FAINT], _OK).astype(np.int64)


def _solve(hessian: Floats, gradient: Floats) -> Floats:
    """Steps [B, m] of least squares; where atoms do not determine a step (few, or none), it is small or zero."""
    diagonal = np.einsum("bii->bi", hessian)
    damping = 1e-6 * diagonal + 1e-9
    return np.asarray(np.linalg.solve(hessian + damping[:, None] * np.eye(hessian.shape[1]), gradient[..., None])[..., 0])
