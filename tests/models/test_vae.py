"""The VAE: its KL and loss in closed form, what it may see, what comes back from disk, and that it can learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from toycrystals.core.rng import make_generator, seed_initialisation
from toycrystals.crystals.conditions import Conditions
from toycrystals.crystals.dataset import DatasetSpec, make_samples, to_unit_interval
from toycrystals.models.training import Trainer, TrainingConfig
from toycrystals.models.vae import VAE, Posterior, VAEConfig, VAEObjective, to_uint8, vae_loss
from toycrystals.runtime.errors import UserError

CPU = torch.device("cpu")
SOURCE = Path("models/vae.safetensors")
CONFIG = VAEConfig("rot_only", 4, 32, "mlp", conditional=True, harmonics=4, latent_dim=6, width=64)
every_architecture = pytest.mark.parametrize("architecture", ["mlp", "conv"])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=make_generator(seed))


def build(seed=0, **changes):
    seed_initialisation(seed)
    vae = VAE(replace(CONFIG, **changes))
    vae.condition.null.data = normal(vae.condition.features, seed=9)
    return vae.requires_grad_(False)


def crystals(n, size=32):
    samples = make_samples(DatasetSpec("rot_only", 4, size, seed=0), "train", n)
    conditions = Conditions(torch.from_numpy(samples.type), torch.from_numpy(samples.labels))
    return torch.from_numpy(samples.images), conditions


def objective(vae, beta=0.5, free_bits=0.0, warmup=0, dropout=0.0):
    return VAEObjective(vae, *crystals(8), beta, free_bits, warmup, dropout)


def test_loss_is_error_plus_beta_kl():
    images, reconstruction = normal(5, 1, 8, 8, seed=1), normal(5, 1, 8, 8, seed=2)
    posterior = Posterior(normal(5, 3, seed=3), normal(5, 3, seed=4))
    loss = vae_loss(reconstruction, images, posterior, beta=0.3)
    mse = np.mean((reconstruction.numpy() - images.numpy()) ** 2)
    kl = kl_divergence(Normal(posterior.mu, (posterior.logvar / 2).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert float(loss.reconstruction) == pytest.approx(mse, rel=1e-5)
    assert float(loss.kl) == pytest.approx(float(kl), rel=1e-5)
    assert float(loss.total) == pytest.approx(mse + 0.3 * float(kl), rel=1e-5)


def test_free_bits_are_a_floor_on_the_batch_mean_of_each_dimension():
    """KL of N(mu, 1) is mu^2 / 2: [[0, 2], [0, 2]], [[8, 0], [0, 0]] and [[2, 0.5]] nats have means 0, 2 | 4, 0 | 1.25."""
    mu = torch.tensor([[0.0, 4.0, 2.0], [2.0, 0.0, 1.0]])
    posterior, images = Posterior(mu, torch.zeros_like(mu)), torch.zeros(2, 1, 4, 4)
    loss = vae_loss(images, images, posterior, beta=0.5, free_bits=1.5)
    assert float(loss.kl) == pytest.approx(1.0 + 4.0 + 1.25)
    assert float(loss.total) == pytest.approx(0.5 * (1.5 + 4.0 + 1.5))


def test_closed_dimensions_are_not_pushed_further():
    mu = torch.tensor([[0.1, 2.0], [0.1, 2.0]], requires_grad=True)
    images = torch.zeros(2, 1, 4, 4)
    vae_loss(images, images, Posterior(mu, torch.zeros(2, 2)), beta=1.0, free_bits=0.05).total.backward()
    torch.testing.assert_close(mu.grad, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))


@every_architecture
@pytest.mark.parametrize("size", [32, 64])
def test_images_to_codes_and_back(architecture, size):
    images, conditions = crystals(3, size)
    vae = build(architecture=architecture, image_size=size)
    posterior = vae.encode(to_unit_interval(images), conditions)
    assert posterior.mu.shape == posterior.logvar.shape == (3, CONFIG.latent_dim)
    assert vae.decode(posterior.mu, conditions).shape == images.shape


@every_architecture
@pytest.mark.parametrize("conditional", [True, False])
def test_only_a_conditional_vae_sees_conditions(architecture, conditional):
    vae, images, z = build(architecture=architecture, conditional=conditional), normal(1, 1, 32, 32), normal(1, 6)
    first, second = (Conditions(torch.tensor([k]), torch.tensor([[0.0, theta, 0.0, 0.0]])) for k, theta in [(0, 0.1), (2, 0.7)])
    assert torch.equal(vae.encode(images, first).mu, vae.encode(images, second).mu) != conditional
    assert torch.equal(vae.decode(z, first), vae.decode(z, second)) != conditional


@every_architecture
def test_dropped_conditions_are_replaced_by_null_row_by_row(architecture):
    images, conditions = crystals(4)
    vae, images, z = build(architecture=architecture), to_unit_interval(images), normal(4, 6)
    shown, null = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    mixed = torch.tensor([True, False, True, False])
    for outputs in (
        lambda present: vae.encode(images, conditions, present).mu,
        lambda present: vae.decode(z, conditions, present),
    ):
        torch.testing.assert_close(outputs(None), outputs(shown), rtol=0.0, atol=0.0)
        torch.testing.assert_close(outputs(mixed)[mixed], outputs(shown)[mixed], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(outputs(mixed)[~mixed], outputs(null)[~mixed], rtol=1e-5, atol=1e-5)
        assert not torch.isclose(outputs(shown), outputs(null)).all(dim=1).any()


def test_null_hides_which_condition_was_dropped():
    _, conditions = crystals(4)
    vae, z, dropped = build(), normal(1, 6).expand(4, 6), torch.zeros(4, dtype=torch.bool)
    images = vae.decode(z, conditions, dropped)
    torch.testing.assert_close(images, images[:1].expand_as(images), rtol=0.0, atol=0.0)


def test_posteriors_stay_finite_whatever_the_encoder_says():
    images, conditions = crystals(4)
    vae = build()
    vae.encoder.layers[-1].bias[CONFIG.latent_dim :] = torch.tensor([1e6, -1e6, 1e6, -1e6, 0.0, 0.0])
    posterior = vae.encode(to_unit_interval(images), conditions)
    assert posterior.kl().isfinite().all()
    assert posterior.sample(make_generator(0)).isfinite().all()


@every_architecture
def test_restored_networks_give_the_same_outputs(architecture):
    images, conditions = crystals(4)
    vae = build(architecture=architecture)
    tensors, meta = vae.tensors_and_meta()
    seed_initialisation(1)
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    again = VAE.restore(copies, {**meta, "kind": "VAE"}, SOURCE)
    assert not again.training
    posterior, restored = (v.encode(to_unit_interval(images), conditions) for v in (vae, again))
    assert again.config == vae.config
    assert torch.equal(posterior.mu, restored.mu)
    assert torch.equal(posterior.logvar, restored.logvar)
    assert torch.equal(vae.decode(posterior.mu, conditions), again.decode(posterior.mu, conditions))


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.1}, {"variant": "squeezed"}, {"architecture": "transformer"}, {"width": 128}, {"latent_dim": "six"},
        {"harmonics": None}, {"n_types": 3}, None,
    ],
    ids=str,
)  # fmt: skip
def test_metadata_of_another_version_is_refused_in_one_line(changes):
    tensors, meta = build().tensors_and_meta()
    foreign = {} if changes is None else {"config": meta["config"] | changes}
    with pytest.raises(UserError) as info:
        VAE.restore(tensors, foreign, SOURCE)
    expected = "models/vae.safetensors: written by another version of toycrystals; run `dvc repro` to make it again"
    assert str(info.value) == expected


def test_tensors_of_another_network_are_refused():
    tensors, meta = build().tensors_and_meta()
    for foreign in ({}, {**tensors, "more": torch.zeros(1)}, dict(list(tensors.items())[1:])):
        with pytest.raises(UserError, match="written by another version"):
            VAE.restore(foreign, meta, SOURCE)


@pytest.mark.parametrize(("name", "value"), [("variant", "full"), ("n_types", 3), ("image_size", 64)])
def test_data_of_another_kind_is_refused(name, value):
    spec = DatasetSpec("rot_only", 4, 32, seed=0)
    CONFIG.require(replace(spec, seed=5), "test set")
    with pytest.raises(UserError, match=f"test set: made with {name} = {value}, .* trained with {name} = {getattr(spec, name)};"):
        CONFIG.require(replace(spec, **{name: value}), "test set")


def test_bytes_survive_the_unit_interval():
    images = torch.arange(256, dtype=torch.uint8)
    unit = to_unit_interval(images)
    assert (unit.min(), unit.max()) == (0.0, 1.0)
    assert torch.equal(to_uint8(unit), images)


def test_bytes_are_the_nearest_and_clamped():
    k = torch.arange(256.0)
    assert torch.equal(to_uint8((k + 0.49) / 255), k.to(torch.uint8))
    assert torch.equal(to_uint8((k - 0.49) / 255), k.to(torch.uint8))
    assert to_uint8(torch.tensor([-7.0, -0.01, 1.01, 300.0])).tolist() == [0, 0, 255, 255]


def test_pixels_that_are_no_numbers_are_black_and_infinite_ones_are_clamped():
    """A cast of NaN to a byte is undefined: it differs from machine to machine."""
    images = torch.tensor([[float("nan"), 0.2], [float("inf"), float("-inf")]])
    assert to_uint8(images).tolist() == [[0, 51], [255, 0]]
    assert images[0, 0].isnan()


@pytest.mark.parametrize(
    ("warmup", "epoch", "share"), [(0, 0.0, 1.0), (4, 0.0, 0.0), (4, 1.0, 0.25), (4, 3.5, 0.875), (4, 9.0, 1.0)]
)
def test_beta_rises_linearly_over_the_warm_up(warmup, epoch, share):
    losses = objective(build(), beta=5.0, warmup=warmup)(torch.arange(8), make_generator(0), epoch)
    assert float(losses["kl"]) > 0.01
    expected = losses["reconstruction"] + share * 5.0 * losses["kl"]
    torch.testing.assert_close(losses["total"], expected)


def test_objective_is_a_function_of_the_generator():
    loss = objective(build())
    first, second, other = (float(loss(torch.arange(8), make_generator(seed), 0.0)["reconstruction"]) for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_objective_takes_the_samples_it_is_given():
    loss, indices = objective(build()), torch.tensor([5, 2])
    images, conditions = crystals(8)
    posterior = loss.vae.encode(to_unit_interval(images[indices]), conditions[indices])
    torch.testing.assert_close(loss(indices, make_generator(0), 0.0)["kl"], posterior.kl().sum(dim=1).mean())


def test_objective_drops_conditions():
    """With nearly all conditions dropped, wrong conditions cost nothing; with none dropped they change the loss."""
    images, conditions = crystals(8)
    wrong = Conditions((conditions.type + 1) % 4, conditions.labels + 0.3)
    for dropout, same in [(0.999999, True), (0.0, False)]:
        right, other = (
            float(VAEObjective(build(), images, c, 0.5, 0.0, 0, dropout)(torch.arange(8), make_generator(0), 0.0)["total"])
            for c in (conditions, wrong)
        )
        assert (right == other) == same


@pytest.mark.parametrize(("architecture", "factor"), [("mlp", 20.0), ("conv", 5.0)])
def test_a_small_vae_learns_eight_images_by_heart(architecture, factor):
    vae = build(architecture=architecture, width=256).requires_grad_(True)
    config = TrainingConfig(seed=0, epochs=150, batch_size=8, learning_rate=3e-3, dtype=torch.float32)
    losses = [float(record.losses["total"]) for record in Trainer(vae, objective(vae, beta=1e-5), 8, config, CPU).run()]
    assert losses[-1] < losses[0] / factor
