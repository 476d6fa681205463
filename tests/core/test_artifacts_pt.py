""".pt files come back as they went; what is no such file is refused, and no pickled object ever runs."""

import os
import pickle
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from small_files import TENSORS, refusal

from toycrystals.core.artifacts import load_pt, save_pt


def test_a_missing_file_is_refused(tmp_path):
    assert "found nothing" in refusal(load_pt, tmp_path / "none")


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
