"""Sets of images against sets of images, by the two scores that the toy-crystals experiments have always reported.

Both compare what survives averaging, so they see neither a rotation nor a swapped condition; they stand beside the measures
of `matching`, never alone. On matched conditions their real-against-real floors are small.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance


def mass_w1(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Wasserstein-1 distance between the distributions of mean pixel value in images a [N, H, W] and b [M, H, W]."""
    return float(wasserstein_distance(a.mean(axis=(1, 2), dtype=np.float64), b.mean(axis=(1, 2), dtype=np.float64)))


def fft_radial_l2(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Root mean square difference between the radial power profiles of two sets of images, [N, H, W] and [M, H, W]."""
    return float(np.sqrt(np.mean((radial_power(a) - radial_power(b)) ** 2)))


def radial_power(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean power spectrum of images [N, H, W], averaged over rings of whole radius up to Nyquist; its sum is 1.

    Returns [min(H, W) // 2 + 1] numbers.
    """
    height, width = images.shape[1:]
    power = np.zeros((height, width))
    for part in np.array_split(images, max(1, len(images) // 512)):
        power += np.sum(np.abs(np.fft.fft2(part)) ** 2, axis=0)
    ky, kx = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    radius = np.hypot(ky[:, None], kx[None, :]).astype(int)
    rings = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    rings = rings[: min(height, width) // 2 + 1]
    total = rings.sum()
    return rings / total if total > 0 else rings
