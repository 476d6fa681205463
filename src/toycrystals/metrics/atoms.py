"""What an image shows at the sites of a lattice: how strong each atom is, and how far from its site it lies.

An atom is a Gaussian of width sigma. Its product with a Gaussian g of the same width at the site is again one, centred halfway
between the two: with d the atom's displacement, A its amplitude and x_s the site,

    sum image g (x - x_s) / sum image g = d / 2,        sum image g / sum g^2 = A exp(-|d|^2 / (4 sigma^2)).

So each atom's displacement follows in closed form, without rendering, from pixels that its neighbours hardly reach. The second
quantity, the overlap, is what the site adds to the correlation of image and lattice; least squares on the displacements,
weighted by the overlaps, has the stationary points of that correlation as its own.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (compiled functions have the types of their arguments)
import math

import numba
import numpy as np

# In units of sigma: how far a site sees, and how far off its atom may be.
_REACH, _FURTHEST = 3.0, 2.5
_LEAST_CERTAINTY = 0.1
# An atom is absent where less than this share of the usual amplitude is left, after correcting for a displacement of at most
# `_CORRECTION` = |d|^2 / (4 sigma^2): beyond that, it is rather a neighbour's tail that is seen.
_ABSENT, _CORRECTION = 0.45, 2.0


@numba.njit(cache=True, nogil=True)
def _window(g, centre, sigma, size):  # type: ignore[no-untyped-def]
    """Fill `g` with the Gaussian's values at the pixels in reach; return their bounds, and norm, mean and variance of g^2."""
    first, end = max(0, math.ceil(centre - _REACH * sigma)), min(size, math.floor(centre + _REACH * sigma) + 1)
    inverse = 0.5 / (sigma * sigma)
    norm, moment, square = 1e-12, 0.0, 0.0
    for i in range(first, end):
        offset = i - centre
        g[i] = math.exp(-inverse * offset * offset)
        weight = g[i] * g[i]
        norm += weight
        moment += weight * offset
        square += weight * offset * offset
    mean = moment / norm
    return first, end, norm, mean, square / norm - mean * mean


@numba.njit(cache=True, nogil=True)
def _look(image, x, y, sigma, gx, gy):  # type: ignore[no-untyped-def]
    """Overlap, displacement and its certainty in x and y at the site (x, y); `gx`, `gy` are scratch space.

    At the image's border a window is cut: the moment of an atom in its place is not zero, and a displacement moves it less.
    The certainty, 1 far from the border, is how much less.
    """
    height, width = image.shape
    left, right, norm_x, mean_x, variance_x = _window(gx, x, sigma, width)
    top, bottom, norm_y, mean_y, variance_y = _window(gy, y, sigma, height)
    total, moment_x, moment_y = 0.0, 0.0, 0.0
    for j in range(top, bottom):
        row, row_x = 0.0, 0.0
        for i in range(left, right):
            value = image[j, i] * gx[i]
            row += value
            row_x += value * (i - x)
        total += row * gy[j]
        moment_x += row_x * gy[j]
        moment_y += row * gy[j] * (j - y)
    overlap = total / (norm_x * norm_y)
    if overlap < 1e-3:
        return 0.0, 0.0, 0.0, 1.0, 1.0
    certainty_x = max(2.0 * variance_x / (sigma * sigma), _LEAST_CERTAINTY)
    certainty_y = max(2.0 * variance_y / (sigma * sigma), _LEAST_CERTAINTY)
    dx = 2.0 * (moment_x / total - mean_x) / certainty_x
    dy = 2.0 * (moment_y / total - mean_y) / certainty_y
    return overlap, dx, dy, certainty_x, certainty_y


@numba.njit(cache=True, nogil=True)
def normal_equations(images, rows, sites, directions, sigma):  # type: ignore[no-untyped-def]
    """Hessian [B, 3, 3] and gradient [B, 3] of the least squares that moves lattices onto the atoms of their images.

    `images` [N, H, H] with lattice b in image `rows[b]`; `sites` [B, S, 2] in (x, y) pixels; `directions` [B, S, 2], how each
    site moves with the aspect; `sigma` [B]. The unknowns are the steps in log spacing, theta (radians) and aspect.
    """
    hessian, gradient = np.zeros((len(rows), 3, 3)), np.zeros((len(rows), 3))
    size = images.shape[1]
    centre = size / 2
    gx, gy = np.empty(size), np.empty(size)
    jacobian = np.empty((3, 2))
    for b in range(len(rows)):
        for s in range(sites.shape[1]):
            x, y = sites[b, s]
            # Half of an atom's overlap is still seen where its site is just outside.
            if min(x, y) < -sigma[b] or max(x, y) > size - 1.0 + sigma[b]:
                continue
            overlap, dx, dy, certainty_x, certainty_y = _look(images[rows[b]], x, y, sigma[b], gx, gy)
            if dx * dx + dy * dy > (_FURTHEST * sigma[b]) ** 2:
                continue
            # How the site moves with log spacing, theta, aspect.
            jacobian[0] = x - centre, y - centre
            jacobian[1] = centre - y, x - centre
            jacobian[2] = directions[b, s]
            weight_x, weight_y = overlap * certainty_x, overlap * certainty_y
            for i in range(3):
                along_x, along_y = weight_x * jacobian[i, 0], weight_y * jacobian[i, 1]
                gradient[b, i] += along_x * dx + along_y * dy
                for j in range(3):
                    hessian[b, i, j] += along_x * jacobian[j, 0] + along_y * jacobian[j, 1]
    return hessian, gradient


@numba.njit(cache=True, nogil=True)
def presence(images, rows, sites, sigma):  # type: ignore[no-untyped-def]
    """Which sites [B, S] have an atom, and where it is [B, S, 2].

    Lattice b has `sites` [S, 2], the central one first, and atoms of `sigma` in image `rows[b]`. Of sites outside the image
    nothing can be told: they count as present and in place.
    """
    present, atoms = np.ones(sites.shape[:2], dtype=np.bool_), sites.copy()
    size = images.shape[1]
    gx, gy = np.empty(size), np.empty(size)
    amplitude = np.empty(sites.shape[1])
    for b in range(len(rows)):
        # What is seen further than half a neighbour's distance off is the neighbour.
        furthest2 = 0.25 * np.min(np.sum((sites[b, 1:9] - sites[b, 0]) ** 2, axis=1))
        weight, square = 0.0, 0.0
        for s in range(sites.shape[1]):
            x, y = sites[b, s]
            amplitude[s] = math.inf
            if min(x, y) >= -0.5 and max(x, y) <= size - 0.5:
                overlap, dx, dy, _, _ = _look(images[rows[b]], x, y, sigma[b], gx, gy)
                distance2 = dx * dx + dy * dy
                amplitude[s] = overlap
                if distance2 <= furthest2:
                    amplitude[s] *= math.exp(min(0.25 * distance2 / sigma[b] ** 2, _CORRECTION))
                    atoms[b, s] = x + dx, y + dy
                weight += overlap
                square += overlap * overlap
        usual = square / weight if weight > 0.0 else 1.0
        present[b] = amplitude > _ABSENT * usual
    return present, atoms


@numba.njit(cache=True, nogil=True, fastmath=True)
def correlation(standard, rows, exact):  # type: ignore[no-untyped-def]
    """NCC [B] of `exact` [B, H, W] with rows of the standardised images `standard` [N, H W]; 0 for a constant image."""
    ncc = np.zeros(len(rows))
    for b in range(len(rows)):
        image, template = standard[rows[b]], exact[b].ravel()
        total, square, product = 0.0, 0.0, 0.0
        for i in range(len(template)):
            value = np.float64(template[i])
            total += value
            square += value * value
            product += value * image[i]
        variance = square - total * total / len(template)
        if variance > 1e-8:
            ncc[b] = product / math.sqrt(variance)
    return ncc
