"""Blocks made as they are asked for, on any number of threads, and the dataset whose items are never on disk."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
import torch
from small_samples import SMALL, arrays, assert_same
from torch.utils.data import DataLoader

from toycrystals.core.artifacts import TensorWriter, load_tensors
from toycrystals.crystals import dataset
from toycrystals.crystals.dataset import BLOCK, OnTheFlyDataset, blocks, make_block, make_samples, tensor_shapes


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_do_not_depend_on_the_number_of_threads(workers, monkeypatch):
    monkeypatch.setattr(dataset, "available_cores", lambda: workers)
    one_by_one = [make_block(SMALL, "test", index, min(BLOCK, 9000 - BLOCK * index)) for index in range(9)]
    threaded = list(blocks(SMALL, "test", 9000))
    assert [len(block) for block in threaded] == [BLOCK] * 8 + [9000 - 8 * BLOCK]
    for one, other in zip(threaded, one_by_one, strict=True):
        assert_same(one, other)


class AtOnce(ThreadPoolExecutor):
    """Does what it is given before it takes more."""

    def submit(self, function, /, *arguments):
        future = super().submit(function, *arguments)
        future.result()
        return future


def test_blocks_are_made_as_they_are_asked_for(monkeypatch):
    made = []
    monkeypatch.setattr(dataset, "available_cores", lambda: 2)
    monkeypatch.setattr(dataset, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(dataset, "make_block", lambda *key: made.append(key[2]) or key[2])
    stream = blocks(SMALL, "train", 100 * BLOCK)
    for index in range(100):
        assert next(stream) == index
        assert len(made) <= index + 8
    assert next(stream, None) is None
    assert made == list(range(100))


@pytest.fixture(scope="module")
def on_the_fly():
    return OnTheFlyDataset(SMALL, "val", 1100)


def test_items_made_on_the_fly_are_those_on_disk(on_the_fly, tmp_path):
    path = tmp_path / "val.safetensors"
    with TensorWriter(path, "dataset", tensor_shapes(1100, 16), {"spec": asdict(SMALL)}) as writer:
        for block in blocks(SMALL, "val", 1100):
            for name, array in arrays(block).items():
                writer.append(name, array)
    stored, _ = load_tensors(path, "dataset")
    assert len(on_the_fly) == 1100
    for i in (0, 1, 1023, 1024, 1099):
        image, lattice_type, labels = on_the_fly[i]
        assert image.dtype == torch.float32
        assert torch.equal((image * 255).round().to(torch.uint8), stored["images"][i])
        assert torch.equal(image, stored["images"][i].float() / 255)
        assert torch.equal(lattice_type, stored["type"][i])
        assert torch.equal(labels, stored["labels"][i])


@pytest.mark.parametrize("i", [1100, 2048, -1])
def test_there_is_no_item_past_the_ends(on_the_fly, i):
    with pytest.raises(IndexError, match=f"index {i} .* 1100"):
        on_the_fly[i]


def test_iteration_ends_after_the_last_item():
    assert len(list(OnTheFlyDataset(SMALL, "val", 5))) == 5


def test_a_data_loader_reads_every_item_once(on_the_fly):
    batches = list(DataLoader(on_the_fly, batch_size=500, shuffle=True, generator=torch.Generator().manual_seed(0)))
    assert [len(lattice_type) for _, lattice_type, _ in batches] == [500, 500, 100]
    images, types, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert (images.shape, types.dtype, labels.shape) == ((1100, 1, 16, 16), torch.int64, (1100, 4))
    expected = make_samples(SMALL, "val", 1100)
    np.testing.assert_array_equal(np.sort(labels[:, 0]), np.sort(expected.labels[:, 0]))
    assert 0.0 <= images.min() < images.max() == 1.0


def test_a_worker_process_can_be_given_the_dataset(on_the_fly):
    copy = pickle.loads(pickle.dumps(on_the_fly))
    assert len(copy) == 1100
    assert all(torch.equal(one, other) for one, other in zip(copy[1050], on_the_fly[1050], strict=True))


def test_an_item_changed_in_place_is_whole_when_asked_for_again():
    data = OnTheFlyDataset(SMALL, "val", 10)
    expected = [tensor.clone() for tensor in data[3]]
    for tensor in data[3]:
        tensor.zero_()
    assert all(torch.equal(one, other) for one, other in zip(data[3], expected, strict=True))


def test_only_the_most_recent_blocks_stay_in_memory(monkeypatch):
    made = []
    real = make_block
    monkeypatch.setattr(dataset, "make_block", lambda *key: made.append(key[2]) or real(*key))
    data = OnTheFlyDataset(SMALL, "val", 3 * BLOCK, cached_blocks=2)
    for i in (0, 1, BLOCK, 5, 2 * BLOCK, BLOCK + 1, 0):
        data[i]
    assert made == [0, 1, 2, 1, 0]
