"""What made a file stands in it: params of the whole chain, hashes that are DVC's, versions that are installed."""

import hashlib
from importlib.metadata import version

import pytest
import yaml
from ruamel.yaml import YAML
from smoke import TOY

from toycrystals import __version__
from toycrystals.core.artifacts import load_meta
from toycrystals.core.provenance import Origin, versions
from toycrystals.runtime.files import file_md5


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


def test_hashes_and_versions_are_those_of_what_is_there(tmp_path):
    (tmp_path / "input").write_bytes(b"crystal")
    origin = Origin("step", train=tmp_path / "input")
    assert origin.md5("train") == file_md5(tmp_path / "input")
    found = versions()
    assert found["toycrystals"] == __version__
    for library in ("torch", "numpy", "numba", "scipy", "scikit-learn"):
        assert found[library].split("+")[0] == version(library).split("+")[0]
    assert origin.made({})["made"]["versions"] == found


VAE = {"seed", "training_seed", "vae"}
DRAWN = ("heldout", "draws", "density", "sweep", "swap")
PRIORS = ("standard", "mop", "local", "diffusion")
# The sections of params that each file names.
PARAMS = {
    "models/vae": VAE,
    **{f"data/latents/{split}": VAE for split in ("train", "val", "test")},
    **{f"models/priors/{prior}": {*VAE, prior} for prior in PRIORS},
    "data/heldout": {"data"},
    **{f"data/samples/real/{name}": {"data"} for name in ("heldout", "sweep")},
    **{f"data/samples/reconstruction/{name}": {*VAE, "data"} for name in ("heldout", "draws", "density", "redraws")},
    **{f"data/samples/{prior}/{name}": {*VAE, prior, "sample"} for prior in PRIORS for name in DRAWN},
    **{f"data/samples/diffusion/steps_{n:05d}": {*VAE, "diffusion", "sample"} for n in TOY["sample"]["curve"]},
}


def test_every_model_and_sample_says_what_made_it(finished):
    found = [path for folder in ("models", "data/samples", "data/latents") for path in (finished / folder).rglob("*.safetensors")]
    assert {str(path.relative_to(finished).with_suffix("")) for path in found} == {*PARAMS} - {"data/heldout"}
    params = YAML(typ="safe", pure=True).load(finished / "params.yaml")
    known = hashes(finished)
    for name, sections in PARAMS.items():
        made = load_meta(finished / f"{name}.safetensors")["made"]
        assert set(made["params"]) == sections, name
        for section, values in made["params"].items():
            if isinstance(values, dict):
                assert values.items() <= params[section].items(), name
            else:
                assert values == params[section], name
        assert made["versions"] == versions()
        split = "test" if name.startswith(("data/heldout", "data/samples/real")) else "train"
        assert made["data"]["variant"] == params["data"]["variant"]
        assert made["data"]["n"] == TOY["data"][f"n_{split}"], name
        assert made["data"]["md5"] == known[f"data/{split}.safetensors"], name


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


def test_only_a_prior_that_takes_steps_names_how_it_was_sampled(finished):
    """The bytes of the others stay the same when only the number of steps changes."""
    made = {name: load_meta(finished / f"data/samples/{name}/heldout.safetensors")["made"] for name in ("mop", "diffusion")}
    assert made["mop"]["params"]["sample"] == {}
    assert made["diffusion"]["params"]["sample"]["steps"] == TOY["sample"]["steps"]
