"""The four 2D lattices: vectors, motif, symmetry, and the sites that an image can see.

A site is ``i v1 + j v2 + d``, with lattice vectors v1, v2 and d an atom of the motif, all in units of the spacing a. Rotation
is by theta about the site i = j = 0, counter-clockwise in (x, y) pixel coordinates; that site lies at the image's centre.
Only the rectangular lattice has a second length: v2 = (0, b), with aspect = b / a.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SQRT3 = math.sqrt(3.0)


@dataclass(frozen=True)
class Lattice:
    """One lattice type at unit spacing and aspect 1.

    `symmetry_order` m: rotating by 2 pi / m about the central site maps the lattice onto itself, and no smaller angle does.
    `aspect_range`: the interval of b / a in the data; (1, 1) where the type has no such freedom.
    """

    name: str
    v1: tuple[float, float]
    v2: tuple[float, float]
    motif: tuple[tuple[float, float], ...]
    symmetry_order: int
    aspect_range: tuple[float, float] = (1.0, 1.0)

    @property
    def period(self) -> float:
        """The smallest rotation about the central site that changes nothing, in radians."""
        return 2.0 * math.pi / self.symmetry_order

    @property
    def has_aspect(self) -> bool:
        """Whether the second lattice vector's length is a factor of its own."""
        return self.aspect_range[0] < self.aspect_range[1]

    def unit_sites(self, radius: float, aspect: float = 1.0) -> NDArray[np.float64]:
        """Sites at aspect 1, [S, 2], whose image at `aspect` lies within `radius` of the centre; the central site is first.

        The order is fixed by distance, then coordinates, so that random draws a site are a function of the arguments alone.
        """
        stretch = np.array([1.0, aspect])
        v1, v2, motif = (np.array(v) for v in (self.v1, self.v2, self.motif))
        # One cell beyond the disc on every side; a row of a sheared lattice starts up to its own height further out.
        reach = math.ceil(2.0 * radius / min(1.0, aspect)) + 2
        i, j = (k.reshape(-1, 1) for k in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        sites = (i * v1 + j * v2)[:, None, :] + motif
        sites = sites.reshape(-1, 2)
        distance = np.hypot(*(sites * stretch).T)
        kept = sites[distance <= radius]
        order = np.lexsort((kept[:, 1].round(9), kept[:, 0].round(9), distance[distance <= radius].round(9)))
        return np.ascontiguousarray(kept[order])


LATTICES = (
    Lattice("square", (1.0, 0.0), (0.0, 1.0), ((0.0, 0.0),), symmetry_order=4),
    Lattice("rectangular", (1.0, 0.0), (0.0, 1.0), ((0.0, 0.0),), symmetry_order=2, aspect_range=(0.75, 1.35)),
    Lattice("triangular", (1.0, 0.0), (0.5, SQRT3 / 2), ((0.0, 0.0),), symmetry_order=6),
    Lattice("honeycomb", (1.0, 0.0), (0.5, SQRT3 / 2), ((0.0, 0.0), (0.5, SQRT3 / 6)), symmetry_order=3),
)
TYPES = tuple(lattice.name for lattice in LATTICES)


def wrapped(difference: Any, period: Any) -> Any:
    """Differences of angles, brought into [-period / 2, period / 2); NumPy arrays or tensors."""
    return (difference + period / 2) % period - period / 2


def place(
    unit_sites: NDArray[np.float64],
    spacing: NDArray[np.float64],
    theta: NDArray[np.float64],
    aspect: NDArray[np.float64],
    centre: tuple[float, float],
) -> NDArray[np.float64]:
    """Pixel coordinates (x, y) of `unit_sites` [S, 2] for B crystals at once: [B, S, 2].

    `spacing` [B] in pixels, `theta` [B] in radians, `aspect` [B]; `centre` is the central site's (x, y).
    """
    u, v = unit_sites[None, :, 0], unit_sites[None, :, 1] * aspect[:, None]
    cos, sin = (spacing * np.cos(theta))[:, None], (spacing * np.sin(theta))[:, None]
    sites = np.empty((len(spacing), len(unit_sites), 2))
    sites[:, :, 0] = centre[0] + cos * u - sin * v
    sites[:, :, 1] = centre[1] + sin * u + cos * v
    return sites
