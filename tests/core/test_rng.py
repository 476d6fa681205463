import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

from toycrystals.core.rng import (
    HELD_OUT,
    INIT,
    NOISE,
    SAMPLE,
    SHUFFLE,
    TRAINING,
    VALIDATION,
    derive_seed,
    make_generator,
    seed_initialisation,
)

seeds = st.integers(0, 2**63 - 1)
keys = st.lists(st.integers(0, 2**31), max_size=3).map(tuple)


def draw(*arguments):
    return torch.rand(8, generator=make_generator(*arguments))


@settings(deadline=None, max_examples=50)
@given(seeds, keys)
def test_equal_arguments_give_equal_draws(seed, key):
    assert torch.equal(draw(seed, *key), draw(seed, *key))


@settings(deadline=None, max_examples=100)
@given(seeds, keys, seeds, keys)
def test_other_arguments_give_other_draws(seed, key, other_seed, other_key):
    assume((seed, key) != (other_seed, other_key))
    assert not torch.equal(draw(seed, *key), draw(other_seed, *other_key))


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, 1), (1, 0)), ((0, 1, 2), (0, 2, 1)), ((0, 1), (0, 1, 0)), ((0,), (0, 0)), ((0, NOISE, 1), (1, NOISE, 0))],
)
def test_seed_and_key_do_not_run_into_each_other(one, other):
    assert not torch.equal(draw(*one), draw(*other))


def test_streams_have_numbers_of_their_own():
    assert len({INIT, SHUFFLE, NOISE, VALIDATION, SAMPLE, TRAINING, HELD_OUT}) == 7


@settings(deadline=None, max_examples=100)
@given(seeds, keys)
def test_derived_seeds_are_seeds_again(seed, key):
    """Seeds are whole numbers from 0 to 2^63 - 1; NumPy, PyTorch and a further derivation all take one."""
    derived = derive_seed(seed, *key)
    assert type(derived) is int
    assert 0 <= derived < 2**63
    assert derived == derive_seed(seed, *key)
    assert derive_seed(derived, *key) != derived


def test_derived_seeds_spread_over_their_whole_range():
    derived = [derive_seed(seed, TRAINING, run) for seed in range(40) for run in range(25)]
    assert len(set(derived)) == 1000
    assert max(derived) > 0.99 * 2**63
    assert min(derived) < 0.01 * 2**63


def test_training_runs_share_no_stream_with_the_data_or_with_each_other():
    runs = [derive_seed(0, TRAINING, run) for run in range(3)]
    streams = [(seed, stream) for seed in (0, *runs) for stream in (INIT, SHUFFLE, NOISE, VALIDATION, SAMPLE, HELD_OUT)]
    draws = torch.stack([draw(*stream) for stream in streams])
    assert len(draws.unique(dim=0)) == len(streams)


@settings(deadline=None, max_examples=20)
@given(seeds, keys)
def test_a_generator_starts_from_the_derived_seed(seed, key):
    expected = torch.rand(8, generator=torch.Generator().manual_seed(derive_seed(seed, *key)))
    assert torch.equal(draw(seed, *key), expected)


def test_a_generator_neither_reads_nor_moves_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(3, NOISE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(draw(3, NOISE), first)


def test_a_generator_is_made_on_the_device_asked_for():
    assert make_generator(0, device=torch.device("cpu")).device == torch.device("cpu")


def initial_weights(seed, noise):
    torch.manual_seed(noise)
    seed_initialisation(seed)
    return nn.Linear(4, 4).weight


def test_initial_weights_are_a_function_of_the_seed_alone():
    assert torch.equal(initial_weights(0, noise=1), initial_weights(0, noise=2))
    assert not torch.equal(initial_weights(0, noise=1), initial_weights(1, noise=1))


def test_draws_are_uniform_across_neighbouring_keys():
    values = torch.stack([draw(0, SHUFFLE, epoch) for epoch in range(1000)])
    # The mean of 1,000 uniform numbers: 5 standard deviations.
    assert (values.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 1000) ** 0.5
    assert torch.corrcoef(torch.stack((values[:-1, 0], values[1:, 0])))[0, 1].abs() < 5 / 1000**0.5
