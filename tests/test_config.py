import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from toycrystals.config import Params, Section, load_params, parse_params
from toycrystals.errors import UserError

COMMITTED = Path(__file__).parents[1] / "params.yaml"
# Small and far from every rule, whatever the committed values are.
PLAIN = {
    "data.variant": "rot_only",
    "data.image_size": 64,
    "data.n_train": 100,
    "data.n_test": 50,
    "vae.architecture": "mlp",
    "vae.conditional": True,
    "vae.epochs": 5,
    "vae.kl_warmup_epochs": 0,
    "vae.batch_size": 10,
    "diffusion.conditional": "auto",
    "diffusion.condition_dropout": 0.0,
    "diffusion.timesteps": 100,
    "diffusion.batch_size": 10,
    "mop.neighbours": 8,
    "evaluate.candidates": 100,
    "features.batch_size": 10,
    "sample.n": 20,
    "sample.steps": 10,
    "sample.curve": [1, 100],
    "sample.guidance": 1.0,
}


def tree(**changes):
    """The committed tree with `PLAIN` and then `changes` put in, by dotted name."""
    content = YAML(typ="safe", pure=True).load(COMMITTED)
    for name, value in (PLAIN | changes).items():
        section, _, key = name.rpartition(".")
        (content[section] if section else content)[key] = value
    return content


def mistakes(**changes):
    with pytest.raises(UserError) as info:
        parse_params(tree(**changes), "params.yaml")
    return str(info.value).split("\n")


def load_text(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(path)


def with_beta(value):
    return re.sub(r"(?m)^  beta: .*$", f"  beta: {value}", COMMITTED.read_text())


def fields_of(model, prefix=""):
    """Dotted name, field and owner of every value of `model`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


FIELDS = dict(fields_of(Params))
FLOATS = [name for name, field in FIELDS.items() if field.annotation is float]
SCALARS = [name for name in FIELDS if name != "sample.curve"]
SECTIONS = [name for name in Params.model_fields if not name.endswith("seed")]


def test_the_committed_file_is_valid_and_read_as_written():
    params = load_params(COMMITTED)
    assert params.model_dump() == YAML(typ="safe", pure=True).load(COMMITTED)


def test_no_value_has_a_default_in_code():
    assert len(FIELDS) > 30
    assert [name for name, field in FIELDS.items() if not field.is_required()] == []
    assert all(field.is_required() for field in Params.model_fields.values())


@pytest.mark.parametrize("text", ["1e-5", "1.e-5", "1E-5", "1e-05", "0.00001", "+1.0e-5"])
def test_numbers_in_scientific_notation_are_numbers(tmp_path, text):
    assert load_text(tmp_path, with_beta(text)).vae.beta == 1e-5


@pytest.mark.parametrize("text", ["on", "yes", "off", "no", "y", "'true'", "1", "0"])
def test_only_true_and_false_are_booleans(tmp_path, text):
    changed = re.sub(r"(?m)^  conditional: .*$", f"  conditional: {text}", COMMITTED.read_text(), count=1)
    with pytest.raises(UserError, match=r"vae\.conditional = .*boolean"):
        load_text(tmp_path, changed)


def test_a_leading_zero_does_not_make_a_number_octal(tmp_path):
    changed = re.sub(r"(?m)^  neighbours: .*$", "  neighbours: 010", COMMITTED.read_text())
    assert load_text(tmp_path, changed).mop.neighbours == 10


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_everywhere(name, value):
    assert [line.startswith(f"params.yaml: {name} = {value!r}: ") for line in mistakes(**{name: value})] == [True]


@pytest.mark.parametrize("text", [".nan", ".inf", "-.INF"])
def test_what_is_not_finite_is_refused_in_yaml(tmp_path, text):
    with pytest.raises(UserError, match=r"vae\.beta = (nan|-?inf): "):
        load_text(tmp_path, with_beta(text))


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("value", [[1], None, {"a": 1}, "nonsense"], ids=str)
def test_wrong_types_are_refused_everywhere(name, value):
    found = mistakes(**{name: value})
    assert len(found) == 1
    assert found[0].startswith(f"params.yaml: {name} = {value!r}: ")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([], "sample.curve = []"),
        (5, "sample.curve = 5"),
        (None, "sample.curve = None"),
        ([1, 0], "sample.curve.1 = 0"),
        ([1.5], "sample.curve.0 = 1.5"),
        (["many"], "sample.curve.0 = 'many'"),
    ],
    ids=str,
)
def test_a_wrong_list_is_refused_with_the_item_that_is_wrong(value, named):
    (found,) = mistakes(**{"sample.curve": value})
    assert found.startswith(f"params.yaml: {named}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("training_seed", -1),
        ("training_seed", 2**32),
        ("training_seed", 0.5),
        ("seed", 2**63),
        ("seed", 0.0),
        ("seed", True),
        ("data.variant", "rotation"),
        ("data.n_types", 0),
        ("data.n_types", 5),
        ("data.image_size", 15),
        ("data.image_size", 257),
        ("data.n_train", 0),
        ("data.n_val", 0),
        ("data.n_test", 0),
        ("vae.architecture", "gan"),
        ("vae.conditional", 1),
        ("vae.condition_dropout", -0.1),
        ("vae.condition_dropout", 1.0),
        ("vae.harmonics", 0),
        ("vae.harmonics", 65),
        ("vae.latent_dim", 0),
        ("vae.latent_dim", 1025),
        ("vae.width", 15),
        ("vae.width", 8193),
        ("vae.beta", -1e-9),
        ("vae.beta", "1e-5"),
        ("vae.beta", True),
        ("vae.free_bits", -1e-9),
        ("vae.kl_warmup_epochs", -1),
        ("vae.epochs", 0),
        ("vae.epochs", 14.0),
        ("vae.epochs", True),
        ("vae.batch_size", 0),
        ("vae.learning_rate", 0.0),
        ("vae.learning_rate", "banana"),
        ("vae.precision", "fp16"),
        ("diffusion.conditional", "on"),
        ("diffusion.conditional", 1),
        ("diffusion.conditional", 0),
        ("diffusion.condition_dropout", 1.0),
        ("diffusion.train_on", "mean"),
        ("diffusion.posterior_width", -0.1),
        ("diffusion.posterior_width", 1.1),
        ("diffusion.scaling", "none"),
        ("diffusion.schedule", "sqrt"),
        ("diffusion.timesteps", 1),
        ("diffusion.timesteps", 10001),
        ("diffusion.prediction", "x"),
        ("diffusion.harmonics", 65),
        ("diffusion.width", 15),
        ("diffusion.width", 4097),
        ("diffusion.blocks", 0),
        ("diffusion.blocks", 65),
        ("diffusion.ema_decay", 1.0),
        ("diffusion.epochs", 0),
        ("diffusion.batch_size", 0),
        ("diffusion.learning_rate", -1.0),
        ("mop.neighbours", 0),
        ("sample.n", 7),
        ("sample.draws", 1),
        ("sample.steps", 0),
        ("sample.eta", -0.1),
        ("sample.eta", 1.1),
        ("sample.guidance", -0.1),
        ("features.components", 1),
        ("features.components", 513),
        ("features.width", 7),
        ("features.epochs", 0),
        ("features.batch_size", 0),
        ("features.learning_rate", 0.0),
        ("evaluate.bootstrap", 99),
        ("evaluate.floor_draws", 1),
        ("evaluate.neighbours", 0),
        ("evaluate.candidates", 0),
        ("evaluate.theta_step", 0.0),
        ("evaluate.theta_step", 2.1),
        ("evaluate.aspect_step", 0.0),
        ("evaluate.aspect_step", 0.051),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_value(name, value):
    found = mistakes(**{name: value})
    assert len(found) == 1
    assert re.match(rf"params\.yaml: {re.escape(name)} = {re.escape(repr(value))}: [a-z]", found[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("data.n_types", 1),
        ("data.image_size", 16),
        ("data.image_size", 256),
        ("vae.beta", 0),
        ("vae.condition_dropout", 0.0),
        ("vae.conditional", False),
        ("diffusion.conditional", True),
        ("diffusion.conditional", False),
        ("diffusion.ema_decay", 0.0),
        ("sample.eta", 1.0),
        ("sample.eta", 0),
        ("evaluate.theta_step", 2.0),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(name, value):
    section, _, key = name.rpartition(".")
    params = parse_params(tree(**{name: value}))
    assert getattr(getattr(params, section) if section else params, key) == value


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
