"""The blocks: how they start, what they see, and that rows of a batch never meet."""

import pytest
import torch

from toycrystals.core.rng import make_generator
from toycrystals.models.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, ResidualBlock, ResidualMLP

CONDITION, WIDTH, OUT = 5, 64, 3
ENCODERS = {"mlp": MLPEncoder, "conv": ConvEncoder}
DECODERS = {"mlp": MLPDecoder, "conv": ConvDecoder}
every_architecture = pytest.mark.parametrize("architecture", ["mlp", "conv"])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def build(kind, size, features):
    torch.manual_seed(0)
    return kind(size, CONDITION, WIDTH, features).requires_grad_(False)


@pytest.mark.parametrize("condition_features", [0, 4])
def test_residual_blocks_start_as_the_identity(condition_features):
    x = normal(6, 8)
    block = ResidualBlock(8, condition_features)
    assert torch.equal(block(x, normal(6, condition_features) if condition_features else None), x)


@pytest.mark.parametrize("condition_features", [0, 4])
def test_residual_blocks_can_leave_the_identity(condition_features):
    """The start is no dead end: the zeroed layer, and only it, has a gradient, and then all have."""
    block = ResidualBlock(8, condition_features)
    inputs = normal(6, 8), normal(6, condition_features, seed=1) if condition_features else None
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (block(*inputs) - normal(6, 8, seed=2)).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0.0 for parameter in block.parameters())


def test_modulation_is_shift_scale_and_gate():
    block = ResidualBlock(8, 4).requires_grad_(False)
    shift, scale, gate = normal(3, 8, seed=1)
    block.modulation.bias.copy_(torch.cat([shift, scale, gate]))
    x = normal(6, 8)
    centred = x - x.mean(dim=1, keepdim=True)
    unit = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    h = (unit * (1 + scale) + shift) @ block.hidden.weight.T + block.hidden.bias
    expected = x + gate * (h * h.sigmoid() @ block.out.weight.T + block.out.bias)
    torch.testing.assert_close(block(x, normal(6, 4)), expected, rtol=1e-5, atol=1e-5)


def test_residual_mlp_maps_features():
    assert ResidualMLP(5, 16, blocks=3, features_out=2)(normal(7, 5)).shape == (7, 2)


@every_architecture
@pytest.mark.parametrize("size", [32, 64])
def test_encoders_and_decoders_have_matching_shapes(architecture, size):
    encoder, decoder = build(ENCODERS[architecture], size, OUT), build(DECODERS[architecture], size, OUT)
    features = encoder(normal(2, 1, size, size), normal(2, CONDITION))
    assert features.shape == (2, OUT)
    assert decoder(features, normal(2, CONDITION)).shape == (2, 1, size, size)


@every_architecture
def test_encoders_see_every_pixel_and_the_condition(architecture):
    encoder = build(ENCODERS[architecture], 32, OUT)
    images, condition = normal(1, 1, 32, 32).requires_grad_(), normal(1, CONDITION).requires_grad_()
    encoder(images, condition).square().sum().backward()
    assert (images.grad != 0.0).all()
    assert (condition.grad != 0.0).all()


@every_architecture
@pytest.mark.parametrize("moved", ["code", "condition"])
def test_every_pixel_depends_on_code_and_condition(architecture, moved):
    decoder = build(DECODERS[architecture], 32, OUT)
    code, condition = normal(1, OUT), normal(1, CONDITION)
    other = decoder(code + (moved == "code"), condition + (moved == "condition"))
    assert (decoder(code, condition) != other).float().mean() > 0.99


@every_architecture
@pytest.mark.parametrize("kind", [ENCODERS, DECODERS], ids=["encoder", "decoder"])
def test_rows_do_not_see_each_other(architecture, kind):
    network = build(kind[architecture], 32, OUT)
    x = normal(5, 1, 32, 32) if kind is ENCODERS else normal(5, OUT)
    condition = normal(5, CONDITION, seed=1)
    together = network(x, condition)
    alone = torch.cat([network(x[[i]], condition[[i]]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
