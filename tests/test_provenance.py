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

MODELS = ["models/vae", "models/features", "models/priors/standard", "models/priors/mop", "models/priors/diffusion"]
SAMPLES = [f"data/samples/{name}/heldout" for name in ("real", "reconstruction", "standard", "mop", "diffusion")]
SAMPLES += [f"data/samples/diffusion/{name}" for name in ("sweep", "draws", "swap")]


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


@pytest.mark.parametrize("name", [*MODELS, *SAMPLES])
def test_every_model_and_sample_says_what_made_it(finished, name):
    made = load_meta(finished / f"{name}.safetensors")["made"]
    params = YAML(typ="safe", pure=True).load(finished / "params.yaml")
    for section, values in made["params"].items():
        recorded = values.items() if isinstance(values, dict) else ()
        assert all(params[section][key] == value for key, value in recorded)
        assert recorded or params[section] == values
    assert made["versions"]["torch"].startswith(version("torch").split("+")[0])
    assert made["versions"]["numpy"] == version("numpy")
    assert made["versions"]["toycrystals"] == __version__
    assert made["data"]["variant"] == params["data"]["variant"]


def hashes(finished):
    stages = yaml.safe_load((finished / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def test_hashes_are_those_of_the_lock(finished):
    known = hashes(finished)
    sample = load_meta(finished / "data/samples/diffusion/heldout.safetensors")["made"]
    assert sample["data"]["md5"] == known["data/train.safetensors"]
    assert sample["data"]["n"] == TOY["data"]["n_train"]
    assert sample["inputs"] == {
        "vae": known["models/vae.safetensors"],
        "prior": known["models/priors/diffusion.safetensors"],
        "heldout": known["data/heldout.safetensors"],
    }


def test_sample_carries_the_params_of_its_prior_and_vae(finished):
    made = {name: load_meta(finished / f"data/samples/{name}/heldout.safetensors")["made"] for name in ("mop", "diffusion")}
    assert set(made["diffusion"]["params"]) == {"seed", "training_seed", "vae", "diffusion", "sample"}
    assert set(made["mop"]["params"]) == {"seed", "training_seed", "vae", "mop", "sample"}
    # Its bytes stay the same when only the number of steps changes.
    assert set(made["mop"]["params"]["sample"]) == {"draws"}
    assert made["diffusion"]["params"]["sample"]["steps"] == TOY["sample"]["steps"]
