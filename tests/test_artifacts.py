import errno
import json
import math
import os
import pickle
import signal
from contextlib import nullcontext
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from toycrystals import artifacts
from toycrystals.artifacts import (
    TensorWriter,
    atomic,
    fingerprint,
    load_meta,
    load_pt,
    load_tensors,
    read_json,
    save_pt,
    save_tensors,
    write_json,
)
from toycrystals.errors import UserError, one_line_errors

DTYPES = {"uint8": torch.uint8, "int64": torch.int64, "float32": torch.float32}
TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor([1, -2]), "u": torch.tensor([[255]], dtype=torch.uint8)}
needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


def refusal(function, path, *arguments):
    """The one line in which `function` refuses the file."""
    with pytest.raises(UserError) as info:
        function(path, *arguments)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_who_reads_the_old_file_while_a_new_one_takes_its_place_reads_it_to_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        with atomic(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_an_error_of_the_block_names_the_file(tmp_path):
    path, other = tmp_path / "file.txt", str(tmp_path / "other.txt")
    for named, expected in ((None, str(path)), (other, other)):
        with pytest.raises(OSError, match="No space left") as info, atomic(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), named)
        assert info.value.filename == expected
    with pytest.raises(FileNotFoundError) as info, atomic(path) as temporary:
        temporary.read_text()
    assert info.value.filename == str(path)


def write_half(path, ending):
    with one_line_errors(), atomic(path) as temporary:
        temporary.write_text("half")
        ending()


def fail():
    raise ValueError("defect")


def be_killed():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def be_interrupted():
    raise KeyboardInterrupt


@pytest.mark.parametrize(("ending", "error"), [(fail, ValueError), (be_killed, SystemExit), (be_interrupted, SystemExit)])
def test_an_end_half_way_leaves_the_old_file_and_nothing_else(tmp_path, ending, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    previous = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(error):
            write_half(path, ending)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_before_anything_was_written_is_the_one_told(tmp_path):
    with pytest.raises(ValueError, match="defect"), atomic(tmp_path / "file.txt"):
        fail()
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {})
        write_json(tmp_path / "a.json", {})
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize("load", [load_tensors, load_meta])
@pytest.mark.parametrize("as_folder", [False, True])
def test_missing_tensors_say_what_to_run(tmp_path, load, as_folder):
    message = refusal(load, tmp_path if as_folder else tmp_path / "none.safetensors", "VAE")
    assert "expected a VAE file, found nothing" in message
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
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"toycrystals": "{"}])
def test_tensors_of_another_program_are_refused(tmp_path, load, metadata):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors", metadata=metadata)
    assert "expected a VAE file" in refusal(load, tmp_path / "a.safetensors", "VAE")


@pytest.mark.parametrize("load", [load_tensors, load_meta])
def test_tensors_of_another_kind_are_refused(tmp_path, load):
    save_tensors(tmp_path / "a.safetensors", "dataset", TENSORS, {})
    assert "expected a VAE file, found dataset" in refusal(load, tmp_path / "a.safetensors", "VAE")


def write_pieces(path):
    with TensorWriter(path, "dataset", {"a": ("float32", (100_000,))}, {}) as writer:
        writer.append("a", np.zeros(100_000, np.float32))


@needs_dev_full
@pytest.mark.parametrize(
    "write",
    [
        write_pieces,
        lambda path: write_json(path, list(range(1000))),
        lambda path: save_pt(path, {"a": torch.zeros(100_000)}),
    ],
    ids=["pieces", "json", "pt"],
)
def test_a_full_disk_is_an_os_error(monkeypatch, write):
    full = Path("/dev/full")
    monkeypatch.setattr(artifacts, "atomic", lambda path: nullcontext(full))
    with pytest.raises(OSError, match="No space left") as info:
        write(full)
    assert info.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("words", "expected"),
    [("I/O error: No space left on device (os error 28)", OSError), ("invalid tensor", SafetensorError)],
)
def test_a_full_disk_told_by_the_library_is_an_os_error(tmp_path, monkeypatch, words, expected):
    def run_full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise SafetensorError(words)

    monkeypatch.setattr(artifacts, "save_file", run_full)
    with pytest.raises(expected) as info:
        save_tensors(tmp_path / "a.safetensors", "VAE", TENSORS, {})
    assert getattr(info.value, "errno", errno.ENOSPC) == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(content=json_trees)
def test_json_comes_back(folder, content):
    write_json(folder / "a.json", content)
    assert read_json(folder / "a.json") == content
    assert (folder / "a.json").read_bytes().endswith(b"\n")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_holds_no_nan_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"metrics": [1.0, value]})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b"[1, 2"])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert "expected JSON" in refusal(read_json, tmp_path / "a.json")


@pytest.mark.parametrize("read", [read_json, load_pt])
def test_a_missing_file_is_refused(tmp_path, read):
    assert "found nothing" in refusal(read, tmp_path / "none")


def test_a_folder_is_no_pt_file(tmp_path):
    assert "expected a .pt file" in refusal(load_pt, tmp_path)


def test_pt_comes_back(tmp_path):
    save_pt(tmp_path / "a.pt", TENSORS)
    found = load_pt(tmp_path / "a.pt")
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert len(list(tmp_path.iterdir())) == 1


def test_equal_pt_content_has_equal_bytes_under_any_name_and_process(tmp_path, monkeypatch):
    save_pt(tmp_path / "one.pt", TENSORS)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    save_pt(tmp_path / "other.pt", TENSORS)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))])
def test_a_pickled_object_is_refused_and_not_run(tmp_path, save):
    save({"x_u8": torch.zeros(2), "trap": Trap(tmp_path / "sprung")}, tmp_path / "a.pt")
    message = refusal(load_pt, tmp_path / "a.pt")
    assert not (tmp_path / "sprung").exists()
    assert "weights_only" not in message


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], 5])
def test_a_pt_file_that_is_no_dictionary_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    assert f"found {type(content).__name__}" in refusal(load_pt, tmp_path / "a.pt")


@pytest.mark.parametrize("new_format", [False, True])
def test_truncated_pt_files_are_refused(tmp_path, new_format):
    torch.save({"x_u8": torch.zeros(2, 1, 4, 4)}, tmp_path / "a.pt", _use_new_zipfile_serialization=new_format)
    content = (tmp_path / "a.pt").read_bytes()
    for size in range(0, len(content), 5):
        (tmp_path / "a.pt").write_bytes(content[:size])
        assert "expected a .pt file" in refusal(load_pt, tmp_path / "a.pt")


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=100) | st.text(st.characters(codec="ascii"), max_size=40).map(str.encode))
def test_noise_is_no_pt_file(folder, content):
    path = folder / "noise.pt"
    path.write_bytes(content)
    refusal(load_pt, path)


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
