"""Tensors on disk: in pieces or at once, the same bytes; the same fingerprint; what is damaged or of another kind is refused."""

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_files import TENSORS, refusal

from toycrystals.core.artifacts import TensorWriter, fingerprint, load_meta, load_tensors, save_tensors

DTYPES = {"uint8": torch.uint8, "int64": torch.int64, "float32": torch.float32}
shapes = st.dictionaries(
    st.text("abcxyz_.", min_size=1, max_size=6),
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=4,
)


def random_array(rng, dtype, shape):
    return rng.normal(size=shape).astype(dtype) if dtype == "float32" else rng.integers(0, 256, shape).astype(dtype)


@settings(deadline=None, max_examples=80)
@given(shapes=shapes, seed=st.integers(0, 2**32 - 1), note=st.text(max_size=5))
def test_tensors_written_in_pieces_load_as_wholes(folder, shapes, seed, note):
    rng = np.random.default_rng(seed)
    whole = {name: random_array(rng, *shape) for name, shape in shapes.items()}
    pieces = []
    for name, array in whole.items():
        cuts = np.sort(rng.integers(0, len(array) + 1, rng.integers(0, 3)))
        pieces.append([(name, piece) for piece in np.split(array, cuts)])
    path = folder / "pieces.safetensors"
    with TensorWriter(path, "dataset", shapes, {"note": note}) as writer:
        while any(pieces):
            waiting = [queue for queue in pieces if queue]
            writer.append(*waiting[rng.integers(len(waiting))].pop(0))
    by_library = load_file(path)
    found, meta = load_tensors(path, "dataset")
    assert meta == load_meta(path, "dataset") == {"note": note, "kind": "dataset"}
    assert set(found) == set(by_library) == set(whole)
    for name, array in whole.items():
        for tensor in (found[name], by_library[name]):
            assert tensor.dtype == DTYPES[shapes[name][0]]
            np.testing.assert_array_equal(tensor.numpy(), array)


@settings(deadline=None, max_examples=30)
@given(shapes=shapes, seed=st.integers(0, 2**32 - 1))
def test_tensors_written_in_pieces_have_the_bytes_of_the_library(folder, shapes, seed):
    rng = np.random.default_rng(seed)
    whole = {name: random_array(rng, *shape) for name, shape in shapes.items()}
    pieces, at_once = folder / "pieces.safetensors", folder / "at_once.safetensors"
    with TensorWriter(pieces, "dataset", shapes, {"a": [1, 2.5]}) as writer:
        for name, array in whole.items():
            writer.append(name, array)
    save_tensors(at_once, "dataset", {name: torch.from_numpy(array) for name, array in whole.items()}, {"a": [1, 2.5]})
    assert pieces.read_bytes() == at_once.read_bytes()


@pytest.mark.parametrize("cuts", [[], [2]])
def test_rows_that_are_not_contiguous_are_written_in_order(tmp_path, cuts):
    array = np.arange(24, dtype=np.int64).reshape(4, 6).T
    with TensorWriter(tmp_path / "a.safetensors", "dataset", {"a": ("int64", (6, 4))}, {}) as writer:
        for piece in np.split(array, cuts):
            writer.append("a", piece)
    np.testing.assert_array_equal(load_tensors(tmp_path / "a.safetensors", "dataset")[0]["a"], array)


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_an_incomplete_or_overfull_tensor_is_a_defect(tmp_path, rows):
    writer = TensorWriter(tmp_path / "a.safetensors", "dataset", {"a": ("float32", (3, 2))}, {})
    with pytest.raises(ValueError, match="incomplete tensors"), writer:
        writer.append("a", np.zeros((rows, 2), np.float32))


def test_a_failure_while_writing_is_not_hidden_by_the_missing_rows(tmp_path):
    writer = TensorWriter(tmp_path / "a.safetensors", "dataset", {"a": ("float32", (3, 2))}, {})
    with pytest.raises(KeyError, match="defect"), writer:
        raise KeyError("defect")


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "model.safetensors"
    meta = {"config": {"width": 3, "beta": 1e-5, "on": True, "none": None}, "names": ["ä", "b"]}
    save_tensors(path, "VAE", TENSORS, meta)
    found, found_meta = load_tensors(path, "VAE")
    assert found_meta == load_meta(path, "VAE") == meta | {"kind": "VAE"}
    assert set(found) == set(TENSORS)
    assert all(found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_parameters_and_views_are_saved_as_numbers(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    save_tensors(tmp_path / "a.safetensors", "VAE", {"weight": weight, "transposed": weight.T}, {})
    found, _ = load_tensors(tmp_path / "a.safetensors", "VAE")
    assert torch.equal(found["weight"], weight.detach())
    assert torch.equal(found["transposed"], weight.detach().T)


def test_equal_content_has_equal_bytes_whatever_the_order(tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    save_tensors(one, "VAE", TENSORS, {"a": 1, "b": {"c": 2, "d": 3}})
    save_tensors(other, "VAE", dict(reversed(TENSORS.items())), {"b": {"d": 3, "c": 2}, "a": 1})
    assert one.read_bytes() == other.read_bytes()


def test_metadata_is_one_key_that_is_json(tmp_path):
    save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {"a": 1})
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        ((_, text),) = file.metadata().items()
    assert json.loads(text) == {"a": 1, "kind": "VAE"}


def test_nan_in_metadata_is_a_defect_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {"loss": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("load", [load_tensors, load_meta])
@pytest.mark.parametrize("as_folder", [False, True])
def test_missing_tensors_say_what_to_run(tmp_path, load, as_folder):
    message = refusal(load, tmp_path if as_folder else tmp_path / "none.safetensors", "VAE")
    assert f"expected a VAE file, found {'a folder' if as_folder else 'nothing'}" in message
    assert "dvc repro" in message


@pytest.mark.parametrize("load", [load_tensors, load_meta])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_tensors_are_refused(tmp_path, load, share):
    path = tmp_path / "a.safetensors"
    save_tensors(path, "VAE", {"a": torch.zeros(1000)}, {"x": 1})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "truncated or no safetensors" in refusal(load, path, "VAE")


@settings(deadline=None, max_examples=60)
@given(content=st.binary(max_size=100))
def test_noise_is_no_tensor_file(folder, content):
    path = folder / "noise.safetensors"
    path.write_bytes(content)
    refusal(load_tensors, path, "VAE")


@pytest.mark.parametrize("load", [load_tensors, load_meta])
@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, *({"toycrystals": text} for text in ("{", "[]", "null", "NaN", "{}", "3"))]
)
def test_tensors_of_another_program_are_refused(tmp_path, load, metadata):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata=metadata)
    assert "expected a VAE file, found a file of another program" in refusal(load, tmp_path / "a.safetensors", "VAE")


@pytest.mark.parametrize("load", [load_tensors, load_meta])
def test_tensors_of_another_kind_are_refused(tmp_path, load):
    save_tensors(tmp_path / "a.safetensors", "dataset", TENSORS, {})
    assert "expected a VAE file, found dataset" in refusal(load, tmp_path / "a.safetensors", "VAE")


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.lists(st.integers(-9, 9), min_size=1, max_size=4), min_size=1),
    st.data(),
)
def test_a_fingerprint_tells_every_number_and_every_name(numbers, data):
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in numbers.items()}
    print_ = fingerprint(tensors)
    assert print_ == fingerprint({name: tensor.clone() for name, tensor in reversed(tensors.items())})
    name = data.draw(st.sampled_from(sorted(tensors)))
    place = data.draw(st.integers(0, len(tensors[name]) - 1))
    changed = tensors[name].clone()
    changed[place] = torch.nextafter(changed[place], torch.tensor(math.inf))
    assert fingerprint(tensors | {name: changed}) != print_
    renamed = {("z" if key == name else key): tensor for key, tensor in tensors.items()}
    assert fingerprint(renamed) != print_
    assert fingerprint({key: tensor for key, tensor in tensors.items() if key != name}) != print_


def test_a_fingerprint_tells_which_tensor_holds_which_numbers():
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert fingerprint({"a": one, "b": two}) != fingerprint({"a": two, "b": one})


def test_a_fingerprint_survives_the_disk_and_does_not_need_plain_tensors(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    save_tensors(tmp_path / "a.safetensors", "VAE", {"w": weight.T}, {})
    assert fingerprint(load_tensors(tmp_path / "a.safetensors", "VAE")[0]) == fingerprint({"w": weight.T})
    assert fingerprint({"w": weight.T}) != fingerprint({"w": weight})
