"""Params as one tree: every key is there, known and without a default, its sections agree, and nothing can be changed."""

import re

import pytest
from hyperparameters import FIELDS, mistakes, tree
from pydantic import ValidationError

from toycrystals.config import Params, parse_params
from toycrystals.errors import UserError

SECTIONS = [name for name in Params.model_fields if not name.endswith("seed")]


def test_no_value_has_a_default_in_code():
    assert len(FIELDS) > 30
    assert [name for name, field in FIELDS.items() if not field.is_required()] == []
    assert all(field.is_required() for field in Params.model_fields.values())


RULES = [
    ({"vae.architecture": "conv", "data.image_size": 40}, "data.image_size = 40", {"data.image_size": 48}),
    ({"vae.batch_size": 101}, "vae.batch_size = 101: must be at most data.n_train = 100", {"vae.batch_size": 100}),
    ({"diffusion.batch_size": 101}, "diffusion.batch_size = 101", {"diffusion.batch_size": 100}),
    ({"vae.kl_warmup_epochs": 6}, "vae.kl_warmup_epochs = 6: must be at most vae.epochs = 5", {"vae.kl_warmup_epochs": 5}),
    (
        {"mop.neighbours": 101, "evaluate.candidates": 101},
        "mop.neighbours = 101: must be at most data.n_train = 100",
        {"mop.neighbours": 100},
    ),
    ({"evaluate.candidates": 7}, "mop.neighbours = 8: must be at most evaluate.candidates = 7", {"mop.neighbours": 7}),
    ({"sample.n": 51}, "sample.n = 51: must be at most data.n_test = 50", {"sample.n": 50}),
    ({"sample.steps": 101}, "sample.steps = 101: must be at most diffusion.timesteps = 100", {"sample.steps": 100}),
    (
        {"sample.curve": [1, 101]},
        "sample.curve = [1, 101]: no number may be above diffusion.timesteps = 100",
        {"sample.curve": [1]},
    ),
    ({"features.batch_size": 101}, "features.batch_size = 101", {"features.batch_size": 100}),
    ({"sample.guidance": 2.0}, "sample.guidance = 2.0: must be 1", {"diffusion.condition_dropout": 0.1}),
    (
        {"sample.guidance": 0.0, "diffusion.condition_dropout": 0.1, "vae.conditional": False},
        "sample.guidance = 0.0: must be 1",
        {"diffusion.conditional": True},
    ),
    (
        {"sample.guidance": 2.0, "diffusion.condition_dropout": 0.1, "diffusion.conditional": False},
        "sample.guidance = 2.0: must be 1",
        {"diffusion.conditional": "auto"},
    ),
]


@pytest.mark.parametrize(("broken", "expected", "mended"), RULES, ids=[expected for _, expected, _ in RULES])
def test_sections_must_agree(broken, expected, mended):
    found = mistakes(**broken)
    assert len(found) == 1
    assert found[0].startswith(f"params.yaml: {expected}")
    parse_params(tree(**(broken | mended)))


def test_all_rules_that_are_broken_are_told():
    found = "\n".join(mistakes(**{"sample.n": 51, "mop.neighbours": 101, "evaluate.candidates": 101}))
    assert "sample.n = 51" in found
    assert "mop.neighbours = 101" in found


def test_every_mistake_has_a_line_of_its_own():
    found = mistakes(**{"vae.beta": -1.0, "data.n_types": 9, "sample.typo": 3})
    assert len(found) == 3
    for line, name in zip(sorted(found), ("data.n_types = 9", "sample.typo", "vae.beta = -1.0"), strict=True):
        assert line.startswith(f"params.yaml: {name}")


@pytest.mark.parametrize(("name", "known"), [("vae.betta", "beta"), ("mop.neighbors", "neighbours"), ("vea", "vae")])
def test_an_unknown_key_is_refused_and_the_known_ones_are_told(name, known):
    (line,) = mistakes(**{name: 1})
    assert line.startswith(f"params.yaml: {name}: unknown key; known are ")
    assert known in line.partition("known are ")[2].split(", ")


@pytest.mark.parametrize("name", [*FIELDS, *SECTIONS])
def test_a_missing_value_is_told_by_name(name):
    content = tree()
    section, _, key = name.rpartition(".")
    del (content[section] if section else content)[key]
    with pytest.raises(UserError, match=rf"^here\.yaml: {re.escape(name)}: missing"):
        parse_params(content, "here.yaml")


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [3, None, "text", [1]], ids=str)
def test_a_section_that_is_none_is_refused(section, value):
    with pytest.raises(UserError) as info:
        parse_params(tree() | {section: value})
    keys = ", ".join(Params.model_fields[section].annotation.model_fields)
    assert str(info.value) == f"params.yaml: {section} = {value!r}: must be a section with keys {keys}"


@pytest.mark.parametrize("content", [None, [1, 2], "text", 5], ids=str)
def test_a_file_that_is_no_section_is_refused(content):
    with pytest.raises(
        UserError, match=r"^params\.yaml: the file = .*must be a section with keys seed, training_seed, data, vae"
    ):
        parse_params(content)


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_sections_cannot_be_changed(section):
    params = parse_params(tree())
    owner = getattr(params, section) if section else params
    name = next(iter(type(owner).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(owner, name, getattr(owner, name))


@pytest.mark.parametrize(
    ("vae", "diffusion", "expected"),
    [(True, "auto", True), (False, "auto", False), (True, False, False), (False, True, True)],
)
def test_the_prior_is_conditional_as_it_says_or_as_the_vae_is(vae, diffusion, expected):
    params = parse_params(tree(**{"vae.conditional": vae, "diffusion.conditional": diffusion}))
    assert params.prior_is_conditional is expected
