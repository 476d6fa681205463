"""What made a file stands in it: params of the whole chain, hashes that are DVC's, versions that are installed."""

import hashlib
from importlib.metadata import version

import pytest
import yaml
from ruamel.yaml import YAML
from smoke import TOY

from toycrystals import __version__
from toycrystals.artifacts import load_meta
from toycrystals.provenance import Origin, file_md5


def test_file_md5_is_the_standard_one(tmp_path):
    for content in (b"", b"crystal", bytes(range(256)) * 5000):
        (tmp_path / "file").write_bytes(content)
        assert file_md5(tmp_path / "file") == hashlib.md5(content).hexdigest()


def test_params_and_data_pass_on_from_file_to_file(tmp_path):
    (tmp_path / "input").write_bytes(b"x")
    first = Origin("first", train=tmp_path / "input").made({"seed": 1, "vae": {"beta": 2}}, data={"md5": "d"})
    second = Origin("second").made({"sample": {"n": 3}}, {"other": 0, **first})["made"]
    assert first["made"]["inputs"] == {"train": hashlib.md5(b"x").hexdigest()}
    assert second["params"] == {"seed": 1, "vae": {"beta": 2}, "sample": {"n": 3}}
    assert second["data"] == {"md5": "d"}
    assert (second["by"], second["inputs"]) == ("second", {})


def test_input_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Origin("step", train=tmp_path / "nothing").made({})


VAE = {"seed", "training_seed", "vae"}
DRAWN = ("heldout", "sweep", "draws", "swap")
# The sections of params that each file names.
PARAMS = {
    "models/vae": VAE,
    "models/features": {"seed", "features"},
    "models/priors/standard": VAE,
    "models/priors/mop": {*VAE, "mop"},
    "models/priors/diffusion": {*VAE, "diffusion"},
    "data/heldout": {"sample"},
    **{f"data/samples/real/{name}": {"sample"} for name in ("heldout", "sweep")},
    "data/samples/reconstruction/heldout": {*VAE, "sample"},
    **{f"data/samples/standard/{name}": {*VAE, "sample"} for name in DRAWN},
    **{f"data/samples/mop/{name}": {*VAE, "mop", "sample"} for name in DRAWN},
    **{f"data/samples/diffusion/{name}": {*VAE, "diffusion", "sample"} for name in DRAWN},
}


def test_every_model_and_sample_is_looked_at(finished):
    found = [path for folder in ("models", "data/samples") for path in (finished / folder).rglob("*.safetensors")]
    assert {str(path.relative_to(finished).with_suffix("")) for path in found} == {*PARAMS} - {"data/heldout"}


@pytest.mark.parametrize("name", PARAMS)
def test_every_model_and_sample_says_what_made_it(finished, name):
    made = load_meta(finished / f"{name}.safetensors")["made"]
    params = YAML(typ="safe", pure=True).load(finished / "params.yaml")
    assert set(made["params"]) == PARAMS[name]
    for section, values in made["params"].items():
        recorded = values if isinstance(values, dict) else {"": values}
        assert recorded
        assert all((params[section][key] if key else params[section]) == value for key, value in recorded.items())
    for library in ("torch", "numpy", "numba", "scipy", "scikit-learn"):
        assert made["versions"][library].split("+")[0] == version(library).split("+")[0]
    assert made["versions"]["toycrystals"] == __version__
    split = "test" if name.startswith(("data/heldout", "data/samples/real")) else "train"
    assert made["data"]["variant"] == params["data"]["variant"]
    assert made["data"]["n"] == TOY["data"][f"n_{split}"]
    assert made["data"]["md5"] == hashes(finished)[f"data/{split}.safetensors"]


def hashes(finished):
    stages = yaml.safe_load((finished / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def test_hashes_of_inputs_are_those_of_the_lock(finished):
    known = hashes(finished)
    sample = load_meta(finished / "data/samples/diffusion/heldout.safetensors")["made"]
    assert sample["inputs"] == {
        "vae": known["models/vae.safetensors"],
        "prior": known["models/priors/diffusion.safetensors"],
        "heldout": known["data/heldout.safetensors"],
    }


def test_sample_carries_the_params_of_its_prior_and_vae(finished):
    made = {name: load_meta(finished / f"data/samples/{name}/heldout.safetensors")["made"] for name in ("mop", "diffusion")}
    # Its bytes stay the same when only the number of steps changes.
    assert set(made["mop"]["params"]["sample"]) == {"draws"}
    assert made["diffusion"]["params"]["sample"]["steps"] == TOY["sample"]["steps"]
