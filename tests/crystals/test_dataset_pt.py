"""The .pt format in which datasets are exchanged: it comes back as it went, and what is malformed is refused in one line."""

import numpy as np
import pytest
import torch
from small_samples import SMALL, assert_same

from toycrystals.core.artifacts import load_pt, save_pt
from toycrystals.crystals.dataset import Samples, from_pt_dict, make_samples, to_pt_dict
from toycrystals.runtime.errors import UserError


def seed_content(n=6):
    return to_pt_dict(make_samples(SMALL, "train", n))


def test_the_seed_format_comes_back_from_disk_as_it_went(tmp_path):
    samples = make_samples(SMALL, "train", 6)
    save_pt(tmp_path / "train.pt", to_pt_dict(samples))
    content = torch.load(tmp_path / "train.pt", weights_only=True)
    assert {name: (t.dtype, tuple(t.shape)) for name, t in content.items()} == {
        "x_u8": (torch.uint8, (6, 1, 16, 16)),
        "y_cat": (torch.int64, (6,)),
        "y_cont": (torch.float32, (6, 4)),
    }
    again = from_pt_dict(load_pt(tmp_path / "train.pt"), "train.pt")
    assert_same(again, Samples(samples.images, samples.type, samples.labels, np.full((6, 5), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *((name, None, [name, "NoneType"]) for name in ("x_u8", "y_cat", "y_cont")),
        ("x_u8", torch.zeros(6, 1, 16, 16), ["x_u8", "torch.uint8", "torch.float32"]),
        ("x_u8", torch.zeros(6, 16, 16, dtype=torch.uint8), ["x_u8", "4-dimensional", "(6, 16, 16)"]),
        ("x_u8", torch.zeros(6, 3, 16, 16, dtype=torch.uint8), ["[N, 1, H, H]", "(6, 3, 16, 16)"]),
        ("x_u8", torch.zeros(6, 1, 16, 8, dtype=torch.uint8), ["[N, 1, H, H]", "(6, 1, 16, 8)"]),
        ("x_u8", torch.zeros(5, 1, 16, 16, dtype=torch.uint8), ["(5, 1, 16, 16)", "(6,)"]),
        ("x_u8", [[1, 2]], ["x_u8", "list"]),
        ("y_cat", torch.zeros(6, dtype=torch.int32), ["y_cat", "torch.int64", "torch.int32"]),
        ("y_cat", torch.zeros(6, 1, dtype=torch.int64), ["y_cat", "1-dimensional", "(6, 1)"]),
        ("y_cat", torch.full((6,), 4), ["y_cat", "0 to 3"]),
        ("y_cat", torch.full((6,), -1), ["y_cat", "0 to 3"]),
        ("y_cat", torch.zeros(7, dtype=torch.int64), ["(7,)"]),
        ("y_cont", torch.zeros(6, 4, dtype=torch.float64), ["y_cont", "torch.float32", "torch.float64"]),
        ("y_cont", torch.zeros(6, 3), ["[N, 4]", "(6, 3)"]),
        ("y_cont", torch.zeros(5, 4), ["[N, 4]", "(5, 4)"]),
    ],
)
def test_a_malformed_seed_file_is_refused_in_one_line(name, value, words):
    with pytest.raises(UserError) as info:
        from_pt_dict(seed_content() | {name: value}, "their/train.pt")
    message = str(info.value)
    assert message.startswith("their/train.pt: expected ")
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("name", ["x_u8", "y_cat", "y_cont"])
def test_a_seed_file_without_a_key_is_refused(name):
    content = seed_content()
    del content[name]
    with pytest.raises(UserError, match=name):
        from_pt_dict(content, "train.pt")


def test_an_empty_seed_file_is_refused():
    with pytest.raises(UserError, match="one or more samples"):
        from_pt_dict({name: tensor[:0] for name, tensor in seed_content().items()}, "train.pt")


def test_labels_with_a_gradient_are_read_as_numbers():
    content = seed_content()
    expected = content["y_cont"].numpy().copy()
    samples = from_pt_dict(content | {"y_cont": content["y_cont"].clone().requires_grad_()}, "train.pt")
    np.testing.assert_array_equal(samples.labels, expected)
