"""The blocks that models are built of: residual MLPs, with or without modulation by a condition, and convolutional stacks."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """x + MLP(LayerNorm(x)), the identity at the start of training.

    With `condition_features` the block is modulated as in DiT (Peebles and Xie 2023, adaLN-Zero): shift, scale and gate are
    linear in the condition.
    """

    def __init__(self, width: int, condition_features: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not condition_features)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.modulation = nn.Linear(condition_features, 3 * width) if condition_features else None
        zeroed = self.modulation or self.out
        nn.init.zeros_(zeroed.weight)
        nn.init.zeros_(zeroed.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x [N, width], condition [N, condition_features] -> [N, width]."""
        h: Tensor = self.norm(x)
        if self.modulation is None:
            change: Tensor = self.out(F.silu(self.hidden(h)))
            return x + change
        shift, scale, gate = self.modulation(condition).chunk(3, dim=1)
        change = gate * self.out(F.silu(self.hidden(h * (1 + scale) + shift)))
        return x + change


class ResidualMLP(nn.Sequential):
    """[N, features_in] -> [N, features_out] through `blocks` residual blocks."""

    def __init__(self, features_in: int, width: int, blocks: int, features_out: int) -> None:
        super().__init__(
            nn.Linear(features_in, width),
            nn.SiLU(),
            *(ResidualBlock(width) for _ in range(blocks)),
            nn.LayerNorm(width),
            nn.Linear(width, features_out),
        )


class MLPEncoder(nn.Module):
    """Flattened pixels and condition -> `features_out` numbers."""

    def __init__(self, image_size: int, condition_features: int, width: int, features_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(image_size**2 + condition_features, width // 4),
            nn.SiLU(),
            nn.Linear(width // 4, width // 4),
            nn.SiLU(),
            nn.Linear(width // 4, features_out),
        )

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Images [N, 1, H, W], condition [N, C] -> [N, features_out]."""
        features: Tensor = self.layers(torch.cat([images.flatten(1), condition], dim=1))
        return features


class MLPDecoder(nn.Module):
    """Code and condition -> pixels, all at once: a lattice is global, and so is this map."""

    def __init__(self, image_size: int, condition_features: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.layers = ResidualMLP(latent_dim + condition_features, width, blocks=2, features_out=image_size**2)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """z [N, D], condition [N, C] -> images [N, 1, H, W], unbounded."""
        pixels: Tensor = self.layers(torch.cat([z, condition], dim=1))
        return pixels.view(len(z), 1, self.image_size, self.image_size)


def _channels(width: int) -> tuple[int, ...]:
    """Channels of four levels, each half as fine as the last: 32, 64, 128, 256 at width 1,024; in whole groups of 8."""
    return tuple(max(8, width // k // 8 * 8) for k in (32, 16, 8, 4))


class ConvEncoder(nn.Module):
    """Four strided convolutions, then a linear map of the coarsest level and the condition."""

    def __init__(self, image_size: int, condition_features: int, width: int, features_out: int) -> None:
        super().__init__()
        channels = (1, *_channels(width))
        layers: list[nn.Module] = []
        for c_in, c_out in itertools.pairwise(channels):
            layers += [nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), nn.GroupNorm(8, c_out), nn.SiLU()]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.out = nn.Linear(channels[-1] * (image_size // 16) ** 2 + condition_features, features_out)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Images [N, 1, H, W], condition [N, C] -> [N, features_out]."""
        features = self.layers(images.contiguous(memory_format=torch.channels_last)).flatten(1)
        out: Tensor = self.out(torch.cat([features, condition.to(features.dtype)], dim=1))
        return out


class ConvDecoder(nn.Module):
    """A linear map of code and condition to the coarsest level, then four transposed convolutions."""

    def __init__(self, image_size: int, condition_features: int, width: int, latent_dim: int) -> None:
        super().__init__()
        channels = _channels(width)[::-1]
        self.coarse = (channels[0], image_size // 16, image_size // 16)
        self.enter = nn.Linear(latent_dim + condition_features, channels[0] * (image_size // 16) ** 2)
        layers: list[nn.Module] = []
        for c_in, c_out in itertools.pairwise(channels):
            layers += [nn.GroupNorm(8, c_in), nn.SiLU(), nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1)]
        layers += [nn.GroupNorm(8, channels[-1]), nn.SiLU(), nn.ConvTranspose2d(channels[-1], 1, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """z [N, D], condition [N, C] -> images [N, 1, H, W], unbounded."""
        coarse = self.enter(torch.cat([z, condition], dim=1)).unflatten(1, self.coarse)
        images: Tensor = self.layers(coarse.contiguous(memory_format=torch.channels_last))
        return images
