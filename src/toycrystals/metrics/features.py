"""What sets of images are compared by: features that no evaluated model made.

Two views: the principal components of real pixels, which see everything a little; and the last layer of a small network that
learned the factors (type, angle, aspect; in `full` spacing, vacancies and jitter) of real crystals, which sees what matters.
Both are made once, from the training split, and stored with the kernel bandwidths that go with them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from toycrystals.dataset import FACTORS, VARIANTS, VariantName
from toycrystals.lattice import LATTICES
from toycrystals.metrics.mmd import bandwidths

VIEWS = ("pca", "network")
_BATCH = 1024
_PCA_IMAGES = 8192
_CELL = 4


@dataclass(frozen=True)
class FeatureConfig:
    """What rebuilds the extractor: its data, the number of principal components, and the network's width."""

    variant: VariantName
    n_types: int
    image_size: int
    components: int
    width: int


def _unit(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return images.float() / 255.0


class FactorNetwork(nn.Module):
    """Images to features [N, width], and features to predictions of the factors.

    Cells of 4 x 4 pixels become channels, then convolutions; positions are kept, for the central site is the origin.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.padding = -config.image_size % _CELL
        side = (config.image_size + self.padding) // _CELL
        layers: list[nn.Module] = [nn.PixelUnshuffle(_CELL)]
        for c_in, c_out, stride in ((_CELL**2, 32, 1), (32, 64, 2), (64, 64, 2)):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.GroupNorm(8, c_out), nn.SiLU()]
            side = -(-side // stride)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * side**2, config.width), nn.SiLU())
        # Type; sin and cos of the angle in units of the type's period; the other factors that vary, scaled to [-1, 1].
        self.head = nn.Linear(config.width, config.n_types + 2 + len(_linear_factors(config.variant)[0]))

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 1, H, W] in [0, 1] -> features [N, width]."""
        features: Tensor = self.layers(F.pad(images, (0, self.padding, 0, self.padding)))
        return features.float()


def _linear_factors(variant: VariantName) -> tuple[list[int], Tensor, Tensor]:
    """Columns of the factors but theta that vary in the data, with the centres and half-widths of their ranges."""
    ranges = {**vars(VARIANTS[variant]), "aspect": LATTICES[1].aspect_range}
    columns = [i for i, name in enumerate(FACTORS) if name != "theta" and ranges[name][0] < ranges[name][1]]
    low, high = torch.tensor([ranges[FACTORS[i]] for i in columns]).reshape(-1, 2).T
    return columns, (low + high) / 2, (high - low) / 2


class FactorObjective:
    """The network's training loss on images uint8 [N, 1, H, W] with their type [N] and factors [N, 5]."""

    def __init__(self, network: FactorNetwork, config: FeatureConfig, images: Tensor, types: Tensor, factors: Tensor) -> None:
        self.network, self.images, self.types, self.n_types = network, images, types, config.n_types
        columns, centre, half_width = _linear_factors(config.variant)
        centre, half_width = centre.to(factors), half_width.to(factors)
        order = torch.tensor([float(lattice.symmetry_order) for lattice in LATTICES]).to(factors)[types]
        phase = order * factors[:, 1]
        self.targets = torch.cat([phase.sin()[:, None], phase.cos()[:, None], (factors[:, columns] - centre) / half_width], dim=1)

    def __call__(self, indices: Tensor, _generator: torch.Generator, _epoch: float) -> Mapping[str, Tensor]:
        images = _unit(self.images[indices])
        predicted = self.network.head(self.network(images))
        kind = F.cross_entropy(predicted[:, : self.n_types].float(), self.types[indices])
        rest = F.mse_loss(predicted[:, self.n_types :].float(), self.targets[indices])
        return {"total": kind + rest, "type": kind, "factors": rest}


@torch.no_grad()
def _in_batches(function: Callable[[Tensor], Tensor], images: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [function(_unit(torch.from_numpy(images[start : start + _BATCH]))) for start in range(0, len(images), _BATCH)]
    features: NDArray[np.float32] = torch.cat(parts).numpy()
    return features


class FeatureExtractor:
    """Images to the features of each of `VIEWS`, with the bandwidths of a kernel on them."""

    def __init__(self, config: FeatureConfig, network: FactorNetwork, tensors: Mapping[str, Tensor]) -> None:
        self.config, self.network, self.tensors = config, network.eval().requires_grad_(False), dict(tensors)

    @classmethod
    def fit(cls, config: FeatureConfig, network: FactorNetwork, images: Tensor) -> Self:
        """Measure principal components and bandwidths on real `images` uint8 [N, 1, H, W]; `network` is trained already."""
        # Here, for whoever only applies the features would wait for it as long as for torch.
        from sklearn.decomposition import PCA  # noqa: PLC0415

        some = _unit(images[:_PCA_IMAGES]).flatten(1)
        components = min(config.components, *some.shape)
        pca = PCA(components, svd_solver="randomized", random_state=0).fit(some.numpy())
        tensors = {"mean": torch.from_numpy(pca.mean_), "components": torch.from_numpy(pca.components_)}
        extractor = cls(config, network, tensors)
        for view in VIEWS:
            features = extractor(images[:_PCA_IMAGES].numpy())[view]
            extractor.tensors[f"bandwidths_{view}"] = torch.from_numpy(bandwidths(features))
        return extractor

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """View -> features float32 [N, D] of images uint8 [N, 1, H, W]."""
        return {"pca": self.pca(images), "network": _in_batches(self.network, images)}

    def pca(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Principal components [N, P] of images uint8 [N, 1, H, W]."""
        mean, components = self.tensors["mean"], self.tensors["components"]
        return _in_batches(lambda batch: (batch.flatten(1) - mean) @ components.T, images)

    def bandwidths(self, view: str) -> NDArray[np.float64]:
        """Of the kernel on the features of `view`."""
        return self.tensors[f"bandwidths_{view}"].numpy()

    def tensors_and_meta(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `restore` needs."""
        weights = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return {**weights, **self.tensors}, {"config": asdict(self.config)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Self:
        """The inverse of `tensors_and_meta`."""
        config = FeatureConfig(**meta["config"])
        network = FactorNetwork(config)
        network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")})
        return cls(config, network, {name: t for name, t in tensors.items() if not name.startswith("network.")})
