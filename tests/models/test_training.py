"""The loop: what one step may depend on, what a resumed run must equal, and the averages and means it reports."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from toycrystals.core.rng import make_generator
from toycrystals.models.training import Trainer, TrainingConfig, epoch_means, learning_rate_factor
from toycrystals.runtime.errors import UserError

CPU = torch.device("cpu")
N, STEPS_PER_EPOCH = 23, 5
CONFIG = TrainingConfig(seed=0, epochs=3, batch_size=4, learning_rate=0.1, dtype=torch.float32, ema_decay=0.5, warmup_steps=3)
DATA = torch.randn((N, 3), generator=make_generator(99))


class NoisyRegression:
    """A loss that depends on the batch, on the generator and on the model; keeps what it was given."""

    def __init__(self, model):
        self.model, self.indices, self.epochs = model, [], []

    def __call__(self, indices, generator, epoch):
        self.indices.append(indices.tolist())
        self.epochs.append(epoch)
        x = DATA[indices] + 0.1 * torch.randn((len(indices), 3), generator=generator)
        error = (self.model(x) - x.sum(dim=1, keepdim=True)).square().mean()
        return {"total": error, "double": 2.0 * error}


def trainer(seed=0, weights_seed=0, **changes):
    torch.manual_seed(weights_seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))
    return Trainer(model, NoisyRegression(model), N, replace(CONFIG, seed=seed, **changes), CPU)


def advance(run, steps=None):
    return [float(record.losses["total"]) for record in itertools.islice(run, steps)]


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def through_disk(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("steps", [0, 1, 5, 7, 14])
def test_resumed_equals_uninterrupted(steps):
    whole, first, second = trainer(), trainer(), trainer(weights_seed=1)
    expected = advance(whole.run())
    head = advance(first.run(), steps)
    second.load_state_dict(through_disk(first.state_dict()))
    assert head + advance(second.run()) == expected
    assert torch.equal(weights(second.model), weights(whole.model))
    for resumed, uninterrupted in zip(second.average, whole.average, strict=True):
        assert torch.equal(resumed, uninterrupted)


def test_run_is_a_function_of_the_seed_alone():
    first, second, other = trainer(), trainer(), trainer(seed=1)
    expected = advance(first.run())
    torch.manual_seed(1234)
    assert advance(second.run()) == expected
    assert advance(other.run()) != expected


def test_nothing_is_left_to_do_at_the_end():
    run = trainer()
    assert len(advance(run.run())) == run.total_steps == 15
    assert advance(run.run()) == []


def test_every_step_has_noise_of_its_own():
    draws, run = [], trainer()
    loss = run.loss
    run.loss = lambda indices, generator, epoch: (
        draws.append(float(torch.rand(1, generator=generator))),
        loss(indices, generator, epoch),
    )[1]
    advance(run.run())
    assert len(set(draws)) == run.total_steps


def test_an_epoch_visits_each_sample_at_most_once_in_an_order_of_its_own():
    run = trainer()
    records = list(run.run())
    epochs = np.reshape(run.loss.indices, (3, 20)).tolist()
    assert [record.step for record in records] == list(range(15))
    assert [record.epoch for record in records] == [0] * 5 + [1] * 5 + [2] * 5
    assert [len(batch) for batch in run.loss.indices] == [4] * 15
    assert all(len(set(epoch)) == 20 and set(epoch) <= set(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_every_sample_is_left_out_equally_often():
    """3 of 23 samples are left out of an epoch: over 100 epochs each about 13 times."""
    run = trainer(epochs=100, learning_rate=0.0)
    advance(run.run())
    visits = np.bincount(np.concatenate(run.loss.indices), minlength=N)
    assert abs(100 - visits - 100 * 3 / 23).max() < 5 * (100 * (3 / 23) * (20 / 23)) ** 0.5


def test_loss_is_told_the_fraction_of_epochs_done():
    run = trainer()
    advance(run.run())
    assert run.loss.epochs == pytest.approx(np.arange(15) / STEPS_PER_EPOCH)


def test_average_equals_one_recomputed_from_the_weights():
    """Decay is min(0.5, k / (k + 10)) after k steps: it is short at first, and constant from step 10 on."""
    run = trainer()
    average = weights(run.model).double()
    for k, _ in enumerate(run.run(), start=1):
        decay = min(0.5, k / (k + 10))
        average = decay * average + (1 - decay) * weights(run.model).double()
    assert not torch.allclose(weights(run.model).double(), average, rtol=1e-3)
    run.use_average()
    torch.testing.assert_close(weights(run.model).double(), average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.5, 0.0])
def test_averaged_weights_are_there_for_a_while(decay):
    """Those that `use_average` leaves are inside, and the trained ones come back."""
    run = trainer(ema_decay=decay)
    for _ in itertools.islice(run.run(), 7):
        pass
    trained = weights(run.model).clone()
    with run.averaged():
        inside = weights(run.model).clone()
    assert torch.equal(weights(run.model), trained)
    assert torch.equal(inside, trained) == (decay == 0.0)
    run.use_average()
    assert torch.equal(weights(run.model), inside)


def test_looking_at_the_average_does_not_change_training():
    looked, plain = trainer(), trainer()
    for _ in looked.run():
        with looked.averaged():
            pass
    advance(plain.run())
    assert torch.equal(weights(looked.model), weights(plain.model))
    for one, other in zip(looked.average, plain.average, strict=True):
        assert torch.equal(one, other)


def test_average_does_not_change_training():
    averaged, plain = trainer(), trainer(ema_decay=0.0)
    assert advance(averaged.run()) == advance(plain.run())
    assert plain.average == []


def test_without_an_average_the_weights_are_those_of_the_last_step():
    run, resumed = trainer(ema_decay=0.0), trainer(ema_decay=0.0, weights_seed=1)
    advance(run.run())
    last = weights(run.model).clone()
    run.use_average()
    assert torch.equal(weights(run.model), last)
    resumed.load_state_dict(through_disk(run.state_dict()))
    resumed.use_average()
    assert torch.equal(weights(resumed.model), last)


def test_frozen_parameters_stay():
    run = trainer()
    frozen = run.model[0].weight.detach().clone()
    run.model[0].weight.requires_grad_(False)
    run = Trainer(run.model, run.loss, N, CONFIG, CPU)
    advance(run.run())
    run.use_average()
    assert torch.equal(run.model[0].weight, frozen)


def test_low_precision_is_for_products_and_not_for_weights():
    run = trainer(dtype=torch.bfloat16)
    outputs = []
    run.model[0].register_forward_hook(lambda module, inputs, output: outputs.append(output.dtype))
    advance(run.run(), 2)
    assert set(outputs) == {torch.bfloat16}
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}


@given(total=st.integers(1, 5000), warmup=st.integers(0, 1000))
@settings(deadline=None)
def test_learning_rate_rises_to_its_peak_and_falls_towards_zero(total, warmup):
    factors = np.array([learning_rate_factor(step, total, warmup) for step in range(total)])
    peak = int(np.argmax(factors))
    assert factors[peak] == 1.0
    assert peak <= max(1, min(warmup, total // 10))
    assert (np.diff(factors[: peak + 1]) > 0.0).all()
    assert (np.diff(factors[peak + 1 :]) < 0.0).all()
    assert (factors > 0.0).all()


@pytest.mark.parametrize(
    ("step", "total", "warmup", "expected"),
    [
        (0, 1000, 10, 0.1),
        (4, 1000, 10, 0.5),
        (10, 1000, 10, 1.0),
        (505, 1000, 10, 0.5),
        (340, 1000, 10, 0.75),
        (1000, 1000, 10, 0.0),
        (0, 100, 200, 0.1),
        (10, 100, 200, 1.0),
        (55, 100, 200, 0.5),
        (0, 1, 200, 1.0),
    ],
)
def test_learning_rate_has_known_values(step, total, warmup, expected):
    assert learning_rate_factor(step, total, warmup) == pytest.approx(expected, abs=1e-12)


def test_optimizer_follows_the_learning_rate():
    run = trainer()
    rates = [run.optimizer.param_groups[0]["lr"] for _ in run.run()]
    assert rates == pytest.approx([0.1 * learning_rate_factor(step, 15, 3) for step in range(15)])


class Clock:
    """A loss whose value at step k is k, and whose parts are named."""

    def __init__(self, model):
        self.model = model

    def __call__(self, indices, generator, epoch):
        value = 0.0 * self.model.weight.sum() + epoch * STEPS_PER_EPOCH
        return {"total": value, "square": value**2}


def clock():
    model = nn.Linear(1, 1)
    return Trainer(model, Clock(model), N, CONFIG, CPU)


def test_epochs_report_the_means_of_their_steps(capsys):
    rows = list(epoch_means(clock(), "label"))
    steps = np.arange(15.0).reshape(3, 5)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["total"] for row in rows] == pytest.approx(steps.mean(axis=1), rel=1e-5)
    assert [row["square"] for row in rows] == pytest.approx((steps**2).mean(axis=1), rel=1e-5)
    assert "label: epoch 3/3, total 12, square 146" in capsys.readouterr().err


def test_a_progress_bar_changes_no_number(monkeypatch):
    expected = list(epoch_means(clock(), "label"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(epoch_means(clock(), "label")) == expected


def test_an_epoch_resumed_half_way_reports_the_mean_of_the_steps_it_saw():
    run = clock()
    advance(run.run(), 7)
    rows = list(epoch_means(run, "label"))
    assert [row["epoch"] for row in rows] == [2, 3]
    assert [row["total"] for row in rows] == pytest.approx([8.0, 12.0], rel=1e-5)


def test_a_diverged_training_is_no_success():
    model = nn.Linear(1, 1)

    def loss(indices, generator, epoch):
        return {"total": model.weight.sum() * float("nan")}

    config = TrainingConfig(seed=0, epochs=3, batch_size=2, learning_rate=0.1, dtype=torch.float32)
    with pytest.raises(UserError, match="epoch 1; lower learning_rate"):
        list(epoch_means(Trainer(model, loss, 4, config, torch.device("cpu")), "fit"))
