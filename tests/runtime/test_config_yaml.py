"""The file of params: what its YAML means, and the one line that says what is wrong with it."""

import re

import pytest
from hyperparameters import COMMITTED
from ruamel.yaml import YAML

from toycrystals.runtime.config import load_params
from toycrystals.runtime.errors import UserError


def load_text(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(path)


def with_beta(value):
    return re.sub(r"(?m)^  beta: .*$", f"  beta: {value}", COMMITTED.read_text())


def test_the_committed_file_is_valid_and_read_as_written():
    params = load_params(COMMITTED)
    assert params.model_dump() == YAML(typ="safe", pure=True).load(COMMITTED)


@pytest.mark.parametrize("text", ["1e-5", "1.e-5", "1E-5", "1e-05", "0.00001", "+1.0e-5"])
def test_numbers_in_scientific_notation_are_numbers(tmp_path, text):
    assert load_text(tmp_path, with_beta(text)).vae.beta == 1e-5


@pytest.mark.parametrize("text", ["on", "yes", "off", "no", "y", "'true'", "1", "0"])
def test_only_true_and_false_are_booleans(tmp_path, text):
    changed = re.sub(r"(?m)^  conditional: .*$", f"  conditional: {text}", COMMITTED.read_text(), count=1)
    with pytest.raises(UserError, match=r"vae\.conditional = .*boolean"):
        load_text(tmp_path, changed)


def test_a_leading_zero_does_not_make_a_number_octal(tmp_path):
    changed = re.sub(r"(?m)^  neighbours: .*$", "  neighbours: 010", COMMITTED.read_text(), count=1)
    assert load_text(tmp_path, changed).mop.neighbours == 10


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF"])
def test_what_is_not_finite_is_refused_in_yaml(tmp_path, text):
    with pytest.raises(UserError, match=r"vae\.beta = (nan|-?inf): "):
        load_text(tmp_path, with_beta(text))


def test_a_missing_file_is_one_line_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: expected the file of hyperparameters, found nothing"):
        load_params(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"data: [1, 2\n", ["expected YAML"]),
        (b"\tseed: 0\n", ["expected YAML", "line 1"]),
        (b"seed: 0\nvae: *unknown\n", ["expected YAML", "line 2"]),
        (b"seed: 0\ndata:\n  n_val: 1\n  n_val: 2\n", ["duplicate key", "n_val", "line 4"]),
        (b"seed: 0\nseed: 1\n", ["duplicate key", "seed", "line 2"]),
        (b"seed: 0\n---\nseed: 1\n", ["expected YAML", "another document"]),
        (b"seed: !!python/object:os.system x\n", ["expected YAML", "line 1"]),
        (b"seed: \xff\xfe\n", ["expected YAML"]),
        (b"seed: \x00\n", ["expected YAML"]),
    ],
)
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as info:
        load_params(path)
    assert str(info.value).startswith(f"{path}: ")
    assert "\n" not in str(info.value)
    assert all(word in str(info.value) for word in words)


def test_mistakes_in_a_file_are_told_with_its_path(tmp_path):
    with pytest.raises(UserError) as info:
        load_text(tmp_path, with_beta("banana"))
    assert str(info.value).startswith(f"{tmp_path / 'params.yaml'}: vae.beta = 'banana': ")
