"""Explicit random number generators, each a function of (seed, key) alone."""

import numpy as np
import torch

# Streams that one seed gives; a further key (an epoch, a step) may follow.
INIT, SHUFFLE, NOISE, VALIDATION, SAMPLE, TRAINING, HELD_OUT = range(7)


def derive_seed(seed: int, *key: int) -> int:
    """A seed below 2^63 that is a function of (seed, key): the seed of training run `key` on the data of `seed`."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def make_generator(seed: int, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device` for stream ``key[0]`` of `seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *key))


def seed_initialisation(seed: int) -> None:
    """Make the initial weights of the modules built next a function of `seed`."""
    torch.manual_seed(make_generator(seed, INIT).initial_seed())
