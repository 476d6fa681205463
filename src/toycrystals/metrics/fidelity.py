"""Image against image: correlation and structural similarity."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toycrystals.metrics.matching import standardise

Floats = NDArray[np.float64]
Images = NDArray[np.float32]  # [N, H, W] in [0, 1]
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_CHUNK = 512


def correlation(a: Images, b: Images) -> Floats:
    """Zero-mean normalised correlation of each pair of images: [N]; 0 where one of them is constant."""
    result: Floats = np.einsum("ij,ij->i", standardise(a), standardise(b), dtype=np.float64)
    return result


def ssim(a: Images, b: Images) -> Floats:
    """Structural similarity of each pair (Wang et al. 2004): [N], 1 for equal images.

    Gaussian window of 11 x 11 pixels and deviation 1.5, data range 1, mean over all windows inside the image.
    """
    parts = [
        _ssim(torch.from_numpy(a[start : start + _CHUNK]), torch.from_numpy(b[start : start + _CHUNK]))
        for start in range(0, len(a), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _ssim(a: Tensor, b: Tensor) -> Floats:
    # float64 in the small differences of large squares: images are often equal to 1e-4.
    a, b = a.double(), b.double()
    rows, columns = _window(a.shape[1]), _window(a.shape[2])

    def local(values: Tensor) -> Tensor:
        return rows @ values @ columns.T

    mean_a, mean_b = local(a), local(b)
    variance_a, variance_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    result: Floats = (luminance * structure).mean(dim=(1, 2)).numpy()
    return result


def _window(size: int) -> Tensor:
    """A Gaussian average at every position that fits, as a banded matrix [size - 10, size]."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel /= kernel.sum()
    window = torch.zeros(size - 2 * _RADIUS, size, dtype=torch.float64)
    for k in range(2 * _RADIUS + 1):
        window.diagonal(k).copy_(kernel[k])
    return window
