"""Atom sites to pixels: image(x, y) = sum over sites of exp(-((x - x_s)^2 + (y - y_s)^2) / (2 sigma^2)), over its maximum.

Pixel centres are integers. A Gaussian is separable, and beyond `CUTOFF` sigma it is below 3e-11: each site adds the outer
product of two short vectors, and each vector follows from two exponentials, since g(x + 1) / g(x) is itself geometric in x.
Everything is float64 and the cut depends on one site alone, so that the bytes do not depend on batch, threads or machine.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

CUTOFF = 7.0


def atom_sigma(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Width of an atom in pixels for a lattice spacing in pixels."""
    return np.maximum(0.6, 0.12 * spacing)


@numba.njit(cache=True, nogil=True)
def _profile(out, centre, sigma, size):  # type: ignore[no-untyped-def]
    """Fill `out` with the Gaussian's values at the pixels within the cutoff; return the first pixel and their number."""
    first = max(0, math.ceil(centre - CUTOFF * sigma))
    last = min(size - 1, math.floor(centre + CUTOFF * sigma))
    if last < first:
        return 0, 0
    # From the window's pixel nearest the centre outwards: values only shrink, so the recurrence is stable.
    nearest = min(max(round(centre), first), last)
    inverse = 0.5 / (sigma * sigma)
    offset = nearest - centre
    peak = math.exp(-offset * offset * inverse)
    curvature = math.exp(-2.0 * inverse)
    for direction in (1, -1):
        value = peak
        ratio = math.exp(-(2.0 * direction * offset + 1.0) * inverse)
        pixel = nearest
        stop = last if direction == 1 else first
        out[pixel - first] = value
        while pixel != stop:
            value *= ratio
            ratio *= curvature
            pixel += direction
            out[pixel - first] = value
    return first, last - first + 1


@numba.njit(cache=True, nogil=True)
def _accumulate(image, sites, present, sigma, gx, gy):  # type: ignore[no-untyped-def]
    """Add every present site's Gaussian to `image` [H, W] and return the image's maximum (1 for an image without atoms)."""
    height, width = image.shape
    image[:] = 0.0
    for s in range(sites.shape[0]):
        if not present[s]:
            continue
        x0, nx = _profile(gx, sites[s, 0], sigma, width)
        if nx == 0:
            continue
        y0, ny = _profile(gy, sites[s, 1], sigma, height)
        for j in range(ny):
            row = image[y0 + j, x0 : x0 + nx]
            weight = gy[j]
            for i in range(nx):
                row[i] += weight * gx[i]
    peak = 0.0
    for y in range(height):
        for x in range(width):
            peak = max(peak, image[y, x])
    return peak if peak > 0.0 else 1.0


@numba.njit(cache=True, nogil=True)
def _render(out, sites, present, sigma, peak, offset):  # type: ignore[no-untyped-def]
    """Fill `out` [B, H, W] with images of maximum `peak`, raised by `offset`; whole numbers are cut."""
    height, width = out.shape[1:]
    image = np.empty((height, width))
    gx, gy = np.empty(width), np.empty(height)
    for b in range(out.shape[0]):
        scale = peak / _accumulate(image, sites[b], present[b], sigma[b], gx, gy)
        for y in range(height):
            for x in range(width):
                out[b, y, x] = image[y, x] * scale + offset


@numba.njit(cache=True, nogil=True)
def _errors(out, images, sites, present, sigma):  # type: ignore[no-untyped-def]
    height, width = images.shape[1:]
    image = np.empty((height, width))
    gx, gy = np.empty(width), np.empty(height)
    for b in range(out.shape[0]):
        scale = 1.0 / _accumulate(image, sites[b], present[b], sigma[b], gx, gy)
        total = 0.0
        for y in range(height):
            for x in range(width):
                difference = np.float32(image[y, x] * scale) - images[b, y, x]
                total += difference * difference
        out[b] = total / (height * width)


def errors(images: NDArray[np.float32], sites: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared error [B] a pixel between images [B, H, W] and what `render` gives for `sites` and `sigma`."""
    out = np.empty(len(sites))
    _errors(out, images, sites, _mask(sites, None), sigma)
    return out


def render(
    sites: NDArray[np.float64], sigma: NDArray[np.float64], size: int, present: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Images float32 [B, size, size] with maximum 1, from sites [B, S, 2] in (x, y) pixels and atom widths `sigma` [B].

    `present` [B, S] leaves sites out. An image without an atom is zero.
    """
    out = np.empty((len(sites), size, size), dtype=np.float32)
    _render(out, sites, _mask(sites, present), sigma, 1.0, 0.0)
    return out


def render_uint8(
    sites: NDArray[np.float64], sigma: NDArray[np.float64], size: int, present: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """As `render`, rounded to the nearest of 256 levels: [B, size, size]."""
    out = np.empty((len(sites), size, size), dtype=np.uint8)
    _render(out, sites, _mask(sites, present), sigma, 255.0, 0.5)
    return out


def _mask(sites: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.ones(sites.shape[:2], dtype=np.bool_) if present is None else present
