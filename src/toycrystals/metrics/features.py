"""What sets of images are compared by: the principal components of real pixels, which no evaluated model made.

They are measured on the training split alone, and stored with the kernel bandwidths that go with them.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from toycrystals.metrics.matching import unit_images
from toycrystals.metrics.mmd import bandwidths

Images = NDArray[np.uint8]  # [N, 1, H, W]
_FITTED_ON, _BATCH = 8192, 1024


@dataclass(frozen=True)
class Features:
    """Principal `components` [P, H W] of images with their `mean` [H W], and the `bandwidths` of a kernel on them."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    bandwidths: NDArray[np.float64]

    @classmethod
    def fit(cls, images: Images, components: int) -> Self:
        """Measure them on the first of `images`; at most as many components as there are images and pixels."""
        # Here, for whoever only applies the features would wait for it as long as for torch.
        from sklearn.decomposition import PCA  # noqa: PLC0415

        some = images[:_FITTED_ON]
        flat = unit_images(some).reshape(len(some), -1)
        pca = PCA(min(components, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
        fitted = cls(pca.mean_, pca.components_, np.empty(0))
        return replace(fitted, bandwidths=bandwidths(fitted(some)))

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Principal components float32 [N, P] of images uint8 [N, 1, H, W]."""
        mean, components = torch.from_numpy(self.mean), torch.from_numpy(self.components)
        parts = (torch.from_numpy(unit_images(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH))
        features: NDArray[np.float32] = torch.cat([(part.flatten(1) - mean) @ components.T for part in parts]).numpy()
        return features
