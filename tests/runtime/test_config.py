"""Params as one tree: every key is there, known and without a default, its sections agree, and nothing can be changed."""

import re

import pytest
from hyperparameters import FIELDS, MODEL, SECTIONS, mistakes, refused, tree, without
from pydantic import ValidationError

from toycrystals.crystals.lattice import LATTICES
from toycrystals.runtime.config import parse_params, prior_names
from toycrystals.runtime.errors import UserError


def test_no_value_has_a_default_in_code():
    assert len(FIELDS) > 30
    assert [name for name, field in FIELDS.items() if not field.is_required()] == []
    assert all(field.is_required() for field in MODEL.model_fields.values())


RULES = [
    ({"vae.architecture": "conv", "data.image_size": 40}, "data.image_size = 40", {"data.image_size": 48}),
    ({"vae.batch_size": 101}, "vae.batch_size = 101: must be at most data.n_train = 100", {"vae.batch_size": 100}),
    ({"diffusion.batch_size": 101}, "diffusion.batch_size = 101", {"diffusion.batch_size": 100}),
    ({"vae.kl_warmup_epochs": 6}, "vae.kl_warmup_epochs = 6: must be at most vae.epochs = 5", {"vae.kl_warmup_epochs": 5}),
    ({"mop.neighbours": 101}, "mop.neighbours = 101: must be at most data.n_train = 100", {"mop.neighbours": 100}),
    ({"local.neighbours": 101}, "local.neighbours = 101: must be at most data.n_train = 100", {"local.neighbours": "auto"}),
    ({"data.n_heldout": 51}, "data.n_heldout = 51: must be at most data.n_test = 50", {"data.n_heldout": 50}),
    ({"sample.draws": 1}, "sample.draws = 1: must be more, or floor.draws = 20 must, for of 21 ways ", {"sample.draws": 3}),
    ({"floor.draws": 4}, "sample.draws = 3: must be more, or floor.draws = 4 must, for of 35 ways ", {"floor.draws": 20}),
    ({"sample.steps": 101}, "sample.steps = 101: must be at most diffusion.timesteps = 100", {"sample.steps": 100}),
    (
        {"sample.curve": [1, 101]},
        "sample.curve = [1, 101]: must be at most diffusion.timesteps = 100",
        {"sample.curve": [1]},
    ),
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
    ({"data.variant": "rotation"}, "data.variant = 'rotation': must be one of simple, rot_only, full", {"data.variant": "full"}),
    ({"data.n_types": 9}, f"data.n_types = 9: must be at most {len(LATTICES)}, ", {"data.n_types": len(LATTICES)}),
    ({"sample.sampler": "euler"}, "sample.sampler = 'euler': must be one of ddim, dpmpp_2m", {"priors": ["standard", "mop"]}),
    (
        {"sample.sampler": "dpmpp_2m", "sample.eta": 0.1},
        "sample.eta = 0.1: must be 0 with sample.sampler = dpmpp_2m, which draws no noise",
        {"sample.sampler": "ddim"},
    ),
    ({"sample.sampler": "dpmpp_2m", "sample.eta": 1.0}, "sample.eta = 1.0: must be 0 with", {"sample.eta": 0.0}),
    ({"priors": ["mopp"]}, "priors = ['mopp']: there is no prior 'mopp'; there are diffusion, local, mop, ", {"priors": ["mop"]}),
    ({"priors": ["exemplars"]}, "priors = ['exemplars']: there is no prior 'exemplars'", {"priors": ["standard"]}),
    ({"priors": ["base"]}, "priors = ['base']: there is no prior 'base'", {"priors": ["standard"]}),
    ({"priors": ["mop", "standard", "mop"]}, "priors = ['mop', 'standard', 'mop']: mop is named twice", {"priors": ["mop"]}),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "expected", "mended"), RULES, ids=[expected for _, expected, _ in RULES])
def test_sections_must_agree(broken, expected, mended):
    found = mistakes(**broken)
    assert len(found) == 1
    assert found[0].startswith(f"params.yaml: {expected}")
    parse_params(tree(**(broken | mended)))


def test_all_rules_that_are_broken_are_told():
    found = "\n".join(mistakes(**{"data.n_heldout": 51, "mop.neighbours": 101}))
    assert "data.n_heldout = 51" in found
    assert "mop.neighbours = 101" in found


def test_every_mistake_has_a_line_of_its_own():
    found = mistakes(**{"vae.beta": -1.0, "data.n_types": 0, "sample.typo": 3})
    assert len(found) == 3
    for line, name in zip(sorted(found), ("data.n_types = 0", "sample.typo", "vae.beta = -1.0"), strict=True):
        assert line.startswith(f"params.yaml: {name}")


@pytest.mark.parametrize(
    ("name", "known"),
    [("vae.betta", "beta"), ("mop.neighbors", "neighbours"), ("vea", "vae"), ("moop", "mop"), ("standard.width", "none")],
)
def test_an_unknown_key_is_refused_and_the_known_ones_are_told(name, known):
    (line,) = mistakes(**{name: 1})
    assert line.startswith(f"params.yaml: {name}: unknown key; known are ")
    assert known in line.partition("known are ")[2].split(", ")


def test_a_missing_value_is_told_by_name():
    empty = {section: {} for section in SECTIONS}
    inner = [name for name in FIELDS if "." in name]
    outer = [name for name in MODEL.model_fields if name != "priors"]
    assert sorted(refused(tree() | empty)) == sorted(f"params.yaml: {name}: missing; add it" for name in inner)
    assert sorted(refused({"priors": tree()["priors"]})) == sorted(f"params.yaml: {name}: missing; add it" for name in outer)
    assert refused(without("priors")) == ["params.yaml: priors: missing; add it"]


def test_mistakes_are_those_of_the_file_that_is_named():
    with pytest.raises(UserError, match=r"^here\.yaml: vae\.beta: missing"):
        parse_params(without("vae.beta"), "here.yaml")


@pytest.mark.parametrize("value", [3, None, "text", [1]], ids=str)
def test_a_section_that_is_none_is_refused(value):
    keys = {name: ", ".join(MODEL.model_fields[name].annotation.model_fields) for name in SECTIONS}
    expected = {name: f"a section with keys {known}" if known else "an empty section, {}" for name, known in keys.items()}
    found = refused(tree() | dict.fromkeys(SECTIONS, value))
    assert sorted(found) == sorted(f"params.yaml: {name} = {value!r}: must be {allowed}" for name, allowed in expected.items())


@pytest.mark.parametrize("content", [None, [1, 2], "text", 5], ids=str)
def test_a_file_that_is_no_section_is_refused(content):
    (line,) = refused(content)
    assert re.match(r"params\.yaml: the file = .*must be a section with keys seed, training_seed, priors, data, vae", line)


def test_sections_cannot_be_changed():
    params = parse_params(tree())
    for owner in (params, *(getattr(params, section) for section in SECTIONS if section != "standard")):
        name = next(iter(type(owner).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(owner, name, getattr(owner, name))


def test_priors_are_the_modules_but_those_that_all_share():
    assert set(prior_names()) >= {"standard", "mop", "local", "diffusion"}
    assert not {"base", "exemplars", "generator", "__init__"} & set(prior_names())


def test_only_priors_that_are_named_need_a_section():
    content = without("mop", priors=["standard", "diffusion"])
    assert not hasattr(parse_params(content), "mop")
    assert refused(content | {"priors": ["mop"]}) == ["params.yaml: mop: missing; add it"]


def test_rules_of_priors_that_are_not_named_do_not_hold_but_their_values_are_checked():
    unused = {"priors": ["standard"], "diffusion.batch_size": 101, "mop.neighbours": 101}
    assert parse_params(tree(**unused)).mop.neighbours == 101
    (line,) = mistakes(**unused | {"mop.neighbours": 0})
    assert line.startswith("params.yaml: mop.neighbours = 0: ")


def test_a_prior_may_have_nothing_to_choose():
    params = parse_params(tree(standard={}))
    assert params.of_prior("standard").model_dump() == {}
    assert params.of_prior("mop") is params.mop


@pytest.mark.parametrize("priors", [[], "mop", None, [1], {"mop": {}}], ids=str)
def test_priors_are_a_list_of_names(priors):
    (line,) = mistakes(priors=priors)
    assert line.startswith("params.yaml: priors")


@pytest.mark.parametrize(
    ("vae", "diffusion", "expected"),
    [(True, "auto", True), (False, "auto", False), (True, False, False), (False, True, True)],
)
def test_the_prior_is_conditional_as_it_says_or_as_the_vae_is(vae, diffusion, expected):
    params = parse_params(tree(**{"vae.conditional": vae, "diffusion.conditional": diffusion}))
    assert params.diffusion.sees_conditions(params.vae.conditional) is expected
