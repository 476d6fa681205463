"""The command line, with untrained models: what it writes, and what it says to a mistake."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import smoke
import torch
from closure import ROOT
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from toycrystals.cli import main, read_about
from toycrystals.core.artifacts import fingerprint, load_tensors, save_pt, save_tensors
from toycrystals.crystals.dataset import DatasetSpec, make_samples, to_pt_dict
from toycrystals.models.vae import VAE, VAEConfig
from toycrystals.priors.base import CodeSpace, find_prior
from toycrystals.runtime.config import load_params


def save_models(folder, variant="rot_only", n_types=4, conditional=True):
    torch.manual_seed(0)
    vae = VAE(VAEConfig(variant, n_types, 16, "mlp", conditional, 4, 3, 32))
    tensors, meta = vae.tensors_and_meta()
    save_tensors(folder / "vae.safetensors", "VAE", tensors, meta)
    params, space = load_params(ROOT / "params.yaml"), CodeSpace(variant, n_types, 3, conditional)
    for name, small in (("standard", {}), ("diffusion", {"harmonics": 4, "width": 16, "blocks": 1, "timesteps": 100})):
        prior = find_prior(name).Prior(params.of_prior(name).model_copy(update=small), space)
        meta = {**prior.meta(), "vae": fingerprint(tensors)}
        save_tensors(folder / f"priors/{name}.safetensors", f"{name} prior", prior.tensors(), meta)


@pytest.fixture
def home(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    save_models(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYCRYSTALS_DEVICE", "cpu")
    return tmp_path


@pytest.fixture
def toycrystals(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["toycrystals", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        printed = capsys.readouterr()
        call.output = printed.out
        return ending.value.code or 0, printed.err

    return call


SAMPLE = ["sample", "--prior", "diffusion", "--type", "honeycomb", "--theta", 15]


def test_sample_writes_a_grid(home, toycrystals):
    assert toycrystals(*SAMPLE, "--n", 6, "--out", "grid.png")[0] == 0
    with Image.open(home / "grid.png") as grid:
        assert (grid.width, grid.height) == (2 * (3 * 20 + 4), 2 * (2 * 20 + 4))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_sample_writes_tensors_for_the_request(home, toycrystals, suffix):
    assert toycrystals(*SAMPLE, "--n", 5, "--out", f"out.{suffix}")[0] == 0
    path = home / f"out.{suffix}"
    tensors = load_file(path) if suffix == "safetensors" else torch.load(path, weights_only=True)
    assert tensors["images"].shape == (5, 1, 16, 16)
    assert tensors["images"].dtype == torch.uint8
    assert tensors["codes"].shape == (5, 3)
    assert tensors["type"].tolist() == [3] * 5
    assert tensors["labels"].rad2deg()[:, 1].tolist() == pytest.approx([15.0] * 5)


def test_sample_is_a_function_of_the_seed(home, toycrystals):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        toycrystals(*SAMPLE, "--n", 3, "--seed", seed, "--out", f"{name}.safetensors")
    a, b, c = ((home / f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "png"])
def test_every_file_of_samples_says_what_made_it(home, toycrystals, suffix):
    assert toycrystals(*SAMPLE, "--n", 4, "--seed", 7, "--out", f"a.{suffix}")[0] == 0
    made = read_about(home / f"a.{suffix}")["made"]
    asked = {
        "prior": "diffusion",
        "n": 4,
        "seed": 7,
        "type": "honeycomb",
        "theta": 15.0,
        "sampler": "dpmpp_2m",
        "steps": 25,
        "eta": 0.0,
        "guidance": 1.0,
    }
    assert made["params"]["sample"] == asked
    assert made["inputs"] == {
        "vae": hashlib.md5((home / "models/vae.safetensors").read_bytes()).hexdigest(),
        "prior": hashlib.md5((home / "models/priors/diffusion.safetensors").read_bytes()).hexdigest(),
    }
    assert made["versions"]["torch"] == torch.__version__


def test_about_prints_what_a_file_says(home, toycrystals):
    toycrystals(*SAMPLE, "--n", 1, "--out", "a.png")
    assert toycrystals("about", "a.png")[0] == 0
    assert YAML(typ="safe", pure=True).load(toycrystals.output) == read_about(home / "a.png")


@pytest.mark.parametrize(
    "name", ["plain.png", "broken.png", "plain.pt", "plain.safetensors", "nothing.png", "nothing.safetensors"]
)
def test_about_a_file_that_says_nothing_is_one_line(home, toycrystals, name):
    Image.new("L", (2, 2)).save(home / "plain.png")
    (home / "broken.png").write_bytes(b"no image")
    save_pt(home / "plain.pt", {"x": torch.zeros(1)})
    save_file({"x": torch.zeros(1)}, home / "plain.safetensors")
    code, error = toycrystals("about", name)
    assert code == 1
    assert error.startswith(f"error: {name}: expected")
    assert len(error.splitlines()) == 1


def test_sample_needs_no_params_where_every_setting_is_given(home, toycrystals):
    (home / "params.yaml").unlink()
    settings = ["--sampler", "ddim", "--steps", 2, "--eta", 0, "--guidance", 1]
    assert toycrystals(*SAMPLE, *settings, "--n", 1, "--out", "a.png")[0] == 0
    code, error = toycrystals(*SAMPLE, *settings[:-2], "--n", 1, "--out", "b.png")
    assert code == 1
    assert error.startswith("error: params.yaml: expected")


def test_about_a_file_of_another_kind_is_not_said_to_be_damaged(home, toycrystals):
    (home / "notes.md").write_text("mine")
    code, error = toycrystals("about", "notes.md")
    assert (code, error) == (1, "error: notes.md: expected a file name that ends in .safetensors, .pt or .png\n")


def test_a_wrong_choice_is_told_the_choices(home, toycrystals):
    code, error = toycrystals("sample", "--prior", "none", "--type", "square", "--theta", "0", "--n", "1", "--out", "a.png")
    assert code == 1
    assert (
        error
        == "error: Invalid value for '--prior': 'none' is not one of 'diffusion', 'local', 'mop', 'standard'. (see --help)\n"
    )


def test_an_output_of_a_stage_is_not_written_over(home, toycrystals):
    (home / ".dvc").mkdir()
    (home / "dvc.yaml").touch()
    outs = [{"path": "models/vae.safetensors", "md5": "0"}, {"path": "data/samples", "md5": "0.dir"}]
    (home / "dvc.lock").write_text(json.dumps({"stages": {"train": {"cmd": "", "outs": outs}}}))
    before = (home / "models/vae.safetensors").read_bytes()
    for out in ("models/vae.safetensors", "data/samples/new.safetensors"):
        code, err = toycrystals(*SAMPLE, "--out", out)
        assert (code, len(err.splitlines())) == (1, 1)
        assert f"{out}: is written by the stage train" in err
    assert (home / "models/vae.safetensors").read_bytes() == before
    assert toycrystals(*SAMPLE, "--out", "models/mine.safetensors")[0] == 0


@pytest.mark.parametrize("option", [("--sampler", "ddim"), ("--steps", 3), ("--eta", 1), ("--guidance", 1)])
def test_options_of_a_sampler_are_refused_for_a_prior_without_one(home, toycrystals, option):
    code, err = toycrystals("sample", "--prior", "standard", "--type", "square", *option, "--out", "grid.png")
    assert code == 1
    assert err == f"error: {option[0]}: the prior standard draws its codes in one step; leave it out\n"
    assert not (home / "grid.png").exists()


@pytest.mark.parametrize(("path", "found"), [("nothing", "nothing"), ("nothing.png", "nothing"), ("models", "a folder")])
def test_about_what_is_no_file_says_so(home, toycrystals, path, found):
    assert toycrystals("about", path) == (
        1,
        f"error: {path}: expected a model, samples or a dataset, found {found}; check the path\n",
    )


def test_reader_that_leaves_early_is_no_mistake(home):
    """As in `toycrystals fsck | head`."""
    command = f"{smoke.PYTHON} -m toycrystals.cli about models/vae.safetensors | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_git_that_is_not_installed_is_one_line(home, toycrystals, monkeypatch):
    (home / ".dvc").mkdir()
    (home / "dvc.yaml").touch()
    monkeypatch.setenv("PATH", str(home))
    code, err = toycrystals("verify")
    assert (code, err) == (1, "error: git: expected it on the PATH; install it\n")


def test_about_a_truncated_image_is_one_line(home, toycrystals):
    Image.new("L", (2, 2)).save(home / "whole.png")
    whole = (home / "whole.png").read_bytes()
    for length in (0, 4, 8, 20, 33, 40, 50):
        (home / "part.png").write_bytes(whole[:length])
        code, error = toycrystals("about", "part.png")
        assert code == 1
        assert error.startswith("error: part.png: expected"), length
        assert len(error.splitlines()) == 1


def test_angle_is_read_modulo_the_symmetry(home, toycrystals):
    for name, theta in (("a", 15), ("b", 135)):
        toycrystals(*SAMPLE[:-1], theta, "--n", 3, "--out", f"{name}.safetensors")
    a, b = (load_file(home / f"{name}.safetensors")["images"].int() for name in "ab")
    assert (a - b).abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*SAMPLE[:4], "hexagonal", "--out", "a.png"], ["--type", "hexagonal", "honeycomb"]),
        ([*SAMPLE[:-1], 75, "--out", "a.png"], ["theta = 75 degrees", "0 to 60"]),
        ([*SAMPLE, "--out", "a.jpeg"], ["a.jpeg", ".png"]),
        ([*SAMPLE, "--n", 0, "--out", "a.png"], ["--n"]),
        ([*SAMPLE, "--guidance", "inf", "--out", "a.png"], ["--guidance", "inf", "finite"]),
        ([*SAMPLE, "--eta", "nan", "--out", "a.png"], ["--eta"]),
        ([*SAMPLE, "--sampler", "euler", "--out", "a.png"], ["sampler", "euler", "ddim"]),
        ([*SAMPLE], ["--out"]),
        ([*SAMPLE, "--models", "nowhere", "--out", "a.png"], ["nowhere", "dvc repro"]),
        (["sample", "--prior", "oracle"], ["--prior", "oracle"]),
        (["sample", "--out", "a.png"], ["--prior", "mop", "diffusion"]),
        (["preview", "--variant", "half", "--out", "a.png"], ["--variant", "half"]),
        (["import", "nothing.pt", "a.safetensors"], ["nothing.pt"]),
        (["paint"], ["paint"]),
        ([], ["command"]),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(home, toycrystals, arguments, words):
    before = sorted(home.iterdir())
    code, error = toycrystals(*arguments)
    assert code == 1
    assert len(error.strip().splitlines()) == 1, error
    assert all(word.lower() in error.lower() for word in words), error
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--spacing", 7], ["--spacing", "rot_only"]),
        (["--guidance", 3], ["guidance = 3", "condition_dropout"]),
        (["--steps", 101], ["steps = 101", "100"]),
    ],
)
def test_what_the_models_cannot_do_is_refused(home, toycrystals, arguments, words):
    code, error = toycrystals(*SAMPLE, *arguments, "--out", "a.png")
    assert code == 1
    assert all(word in error for word in words), error
    assert not (home / "a.png").exists()


def test_unconditional_models_take_no_request_and_conditional_ones_need_it(home, toycrystals):
    code, error = toycrystals("sample", "--prior", "standard", "--out", "a.pt")
    assert code == 1
    assert "--type" in error
    save_models(home / "free", conditional=False)
    code, error = toycrystals(*SAMPLE, "--models", "free", "--out", "a.pt")
    assert code == 1
    assert "unconditional" in error
    assert toycrystals("sample", "--prior", "diffusion", "--models", "free", "--n", 2, "--out", "a.pt")[0] == 0
    assert set(torch.load(home / "a.pt", weights_only=True)) == {"images", "codes", "made"}


def test_type_that_the_model_has_not_seen_is_refused(home, toycrystals):
    save_models(home / "two", n_types=2)
    code, error = toycrystals(*SAMPLE, "--models", "two", "--out", "a.png")
    assert code == 1
    assert "square, rectangular" in error


def test_preview_draws_every_variant(home, toycrystals):
    for variant in ("simple", "rot_only", "full"):
        assert toycrystals("preview", "--variant", variant, "--columns", 2, "--image-size", 16, "--out", f"{variant}.png")[0] == 0
    assert (home / "simple.png").read_bytes() != (home / "full.png").read_bytes()


def test_import_and_export_are_inverse(home, toycrystals):
    samples = make_samples(DatasetSpec("rot_only", 4, 16, 0), "train", 40)
    original = to_pt_dict(samples)
    save_pt(home / "seed.pt", original)
    assert toycrystals("import", "seed.pt", "data.safetensors")[0] == 0
    assert load_tensors(home / "data.safetensors", "dataset")[1]["spec"]["image_size"] == 16
    assert toycrystals("export", "data.safetensors", "again.pt")[0] == 0
    again = torch.load(home / "again.pt", weights_only=True)
    assert set(again) == set(original)
    assert all(again[name].equal(original[name]) for name in original)


CARE = {
    "check_cache": (["fsck", "--remove"], (True,)),
    "reproduces": (["verify", "encode"], (["encode"], None)),
}


@pytest.mark.parametrize("function", CARE)
@pytest.mark.parametrize("good", [True, False])
def test_exit_code_says_what_was_found_in_the_project_around(home, toycrystals, monkeypatch, function, good):
    arguments, handed_on = CARE[function]
    (home / ".dvc").mkdir()
    (home / "dvc.yaml").touch()
    monkeypatch.chdir(home / "models")
    calls = []
    monkeypatch.setattr(f"toycrystals.cli.{function}", lambda *given: calls.append(given) or good)
    assert toycrystals(*arguments) == (0 if good else 1, "")
    assert calls == [(home, *handed_on)]


def test_what_git_says_of_a_project_that_is_none_is_one_line(home, toycrystals):
    (home / ".dvc").mkdir()
    (home / "dvc.yaml").touch()
    code, error = toycrystals("verify")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("error: ")


def test_a_prior_that_takes_no_steps_needs_no_params(home, toycrystals):
    (home / "params.yaml").unlink()
    code, err = toycrystals("sample", "--prior", "standard", "--type", "square", "--n", 2, "--out", "grid.png")
    assert (code, err) == (0, "")
    assert (home / "grid.png").exists()
