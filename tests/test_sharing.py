"""What docs/sharing.md promises: remotes, experiments through git, models by version and from Python."""

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest
import smoke
import yaml
from bucket import BUCKET, bucket_server
from closure import ROOT
from dvc.api import artifacts_show
from safetensors.torch import load_file
from smoke import dvc, git, set_params

pytestmark = pytest.mark.acceptance

MOP = "models/priors/mop.safetensors"
FROM_STORAGE = ("--remote", "storage", "--remote-config", "url=../storage")


def add_remote(folder, url="../storage", verify=True):
    dvc(folder, "remote", "add", "--local", "--default", "storage", url)
    if verify:
        dvc(folder, "remote", "modify", "--local", "storage", "verify", "true")


def clone(source, folder):
    subprocess.run(["git", "clone", "--quiet", source, folder], check=True)
    git(folder, "config", "user.name", "smoke")
    git(folder, "config", "user.email", "smoke@localhost")
    return folder


def running(done):
    return re.findall(r"Running stage '(.+)':", done.stdout)


def present(folder):
    """Data and models in a clone, as paths relative to it."""
    paths = [path for name in ("data", "models") for path in (folder / name).rglob("*")]
    return {str(path.relative_to(folder)) for path in paths if path.is_file() and path.name != ".gitignore"}


def object_of(folder, output):
    """The path below a remote's root of the object that dvc.lock names for `output`."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"].values()
    digest = next(out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] == output)
    return f"files/md5/{digest[:2]}/{digest[2:]}"


def damage(path):
    """As a bad disk would: the file stays read-only, by which DVC knows its own objects and does not hash them."""
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    path.chmod(0o444)


@pytest.fixture(scope="module")
def work(finished, tmp_path_factory):
    """A folder of `project`, pushed to `storage` and `crystals.git`, with the experiment `near` and two tags."""
    work = tmp_path_factory.mktemp("sharing")
    project = shutil.copytree(finished, work / "project", symlinks=True)
    (work / "storage").mkdir()
    add_remote(project)
    dvc(project, "push")
    git(project, "init", "--quiet", "--bare", "--initial-branch", "main", "../crystals.git")
    git(project, "remote", "add", "team", "../crystals.git")
    git(project, "tag", "--annotate", "diffusion@v1.0.0", "--message", "first prior")
    git(project, "tag", "vae@v1.0.0")
    git(project, "push", "--quiet", "team", "main", "--tags")
    # One stage is enough: its output is in DVC's cache, so it must travel through the DVC remote.
    dvc(project, "exp", "run", "--temp", "-n", "near", "-S", "mop.neighbours=4", "--single-item", "train_prior@mop")
    dvc(project, "exp", "push", "team", "near")
    return work


@pytest.fixture
def copy(work, tmp_path):
    """A clone of the pushed project without a remote, beside a remote of its own that may be damaged."""
    shutil.copytree(work / "storage", tmp_path / "storage")
    return clone(work / "crystals.git", tmp_path / "copy")


def test_no_remote_is_committed():
    assert "remote" not in (ROOT / ".dvc/config").read_text()


def test_a_fresh_clone_without_a_remote_is_told_so(copy):
    done = dvc(copy, "pull", check=False)
    assert done.returncode == 1
    assert "No remote provided and no default remote set." in done.stdout + done.stderr
    assert present(copy) == set()


def test_pull_from_a_folder_leaves_nothing_to_run(copy, finished):
    add_remote(copy)
    dvc(copy, "pull")
    assert present(copy) == present(finished)
    done = dvc(copy, "repro")
    assert running(done) == []
    assert "up to date" in done.stdout
    assert git(copy, "status", "--porcelain") == ""


def test_pull_from_a_bucket_leaves_nothing_to_run(work, copy, finished, monkeypatch):
    with bucket_server() as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/toycrystals"
        dvc(work / "project", "remote", "add", "--local", "--force", "bucket", url)
        assert re.search(r"\d+ files pushed", dvc(work / "project", "push", "--remote", "bucket").stdout)
        add_remote(copy, url)
        dvc(copy, "pull")
        assert present(copy) == present(finished)
        assert running(dvc(copy, "repro")) == []


def test_pull_of_an_output_or_a_stage_brings_no_more(copy, finished):
    add_remote(copy)
    dvc(copy, "pull", "models/vae.safetensors")
    assert present(copy) == {"models/vae.safetensors"}
    dvc(copy, "pull", "sample")
    samples = {path for path in present(finished) if path.startswith("data/samples/")}
    assert present(copy) == {"models/vae.safetensors", *samples}
    assert "'models' does not exist as an output" in dvc(copy, "pull", "models", check=False).stderr


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_what_a_remote_has_lost_is_named_and_made_again(copy, harm):
    add_remote(copy)
    lost = copy.parent / "storage" / object_of(copy, MOP)
    content = bytearray(lost.read_bytes())
    lost.unlink()
    if harm == "damaged":
        content[len(content) // 2] ^= 1
        lost.write_bytes(content)
        lost.chmod(0o444)
    done = dvc(copy, "pull", check=False)
    assert done.returncode == 1
    assert re.search(rf"Checkout failed for following targets:\n{MOP}\n", done.stderr)
    assert not (copy / MOP).exists()
    dvc(copy, "pull", "--allow-missing")
    assert running(dvc(copy, "repro")) == ["train_prior@mop"]
    assert git(copy, "status", "--porcelain") == ""


def test_without_verify_a_damaged_object_is_not_noticed_but_by_fsck(copy):
    """The reason why the documented remotes verify; should DVC learn to check by itself, the advice can go."""
    add_remote(copy, verify=False)
    damage(copy.parent / "storage" / object_of(copy, MOP))
    dvc(copy, "pull")
    assert (copy / MOP).read_bytes() == b"damaged"
    assert "up to date" in dvc(copy, "status").stdout
    fsck = [smoke.PYTHON, "-m", "toycrystals.cli", "fsck"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(fsck, cwd=copy, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert MOP in done.stdout + done.stderr


def test_push_brings_an_object_that_was_deleted_and_none_that_is_damaged(copy):
    add_remote(copy)
    dvc(copy, "pull")
    storage = copy.parent / "storage"
    lost = storage / object_of(copy, MOP)
    damage(lost)
    assert "Everything is up to date." in dvc(copy, "push").stdout
    assert lost.read_bytes() == b"damaged"
    lost.unlink()
    dvc(copy, "push", "--all-commits")
    assert lost.read_bytes() == (copy / MOP).read_bytes()


def test_an_experiment_travels_through_git_and_the_remote(work, copy):
    add_remote(copy)
    assert "near" in dvc(copy, "exp", "list", "origin").stdout
    assert "near" not in dvc(copy, "exp", "list").stdout
    dvc(copy, "pull")
    before = (copy / MOP).read_bytes()
    dvc(copy, "exp", "pull", "origin", "near")
    shown = dvc(copy, "exp", "show", "--csv", "--hide-workspace").stdout
    near = next(row for row in csv.DictReader(shown.splitlines()) if row["Experiment"] == "near")
    assert near["mop.neighbours"] == "4"
    assert float(near["psnr.mop"]) > 0
    dvc(copy, "exp", "apply", "near")
    assert (copy / MOP).read_bytes() != before
    assert running(dvc(copy, "repro", "--single-item", "train_prior@mop")) == []
    changed = ["dvc.lock", "params.yaml", "plots/train_prior/mop.csv"]
    assert git(copy, "diff", "--name-only").split() == changed
    dvc(copy, "exp", "branch", "near", "kept")
    assert git(copy, "diff", "--name-only", "main", "kept").split() == changed


def test_a_run_is_taken_over_from_the_run_cache(copy, tmp_path):
    other = clone(copy, tmp_path / "other")
    for folder in (copy, other):
        add_remote(folder)
        set_params(folder, {"sample": {"steps": 3}})
    dvc(copy, "repro", "--pull", "sample")
    dvc(copy, "push", "--run-cache")
    dvc(other, "fetch", "--run-cache", "generate")
    done = dvc(other, "repro", "--pull", "sample")
    assert "Stage 'sample' is cached - skipping run" in done.stdout
    made, taken = ((folder / "data/samples/diffusion/heldout.safetensors").read_bytes() for folder in (copy, other))
    assert made == taken


def test_artifacts_are_the_models(finished):
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert set(pipeline["artifacts"]) == {"vae", "diffusion", "mop"}
    for artifact in pipeline["artifacts"].values():
        assert artifact["type"] == "model"
        assert (finished / artifact["path"]).is_file()


def test_a_model_is_fetched_by_its_version(work, tmp_path_factory):
    elsewhere = work / "artifacts"
    elsewhere.mkdir()
    dvc(elsewhere, "artifacts", "get", "../crystals.git", "diffusion", "--rev", "v1.0.0", *FROM_STORAGE)
    wanted = (work / "project/models/priors/diffusion.safetensors").read_bytes()
    assert (elsewhere / "diffusion.safetensors").read_bytes() == wanted
    dvc(elsewhere, "get", "../crystals.git", "models/vae.safetensors", "--rev", "diffusion@v1.0.0", *FROM_STORAGE)
    assert (elsewhere / "vae.safetensors").read_bytes() == (work / "project/models/vae.safetensors").read_bytes()
    dvc(elsewhere, "get", "../project", MOP)
    assert (elsewhere / "mop.safetensors").read_bytes() == (work / "project" / MOP).read_bytes()
    shown = artifacts_show("diffusion", repo=str(work / "crystals.git"))
    commit = git(work / "project", "rev-list", "-n", "1", "diffusion@v1.0.0").strip()
    assert shown == {"rev": commit, "path": "models/priors/diffusion.safetensors"}
    lightweight = dvc(elsewhere, "artifacts", "get", "../crystals.git", "vae", *FROM_STORAGE, check=False)
    assert lightweight.returncode == 1
    assert "Unable to find artifact 'vae'" in lightweight.stderr


def test_the_example_samples_what_the_project_samples(work):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/sharing.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    local = code.replace("fetched/diffusion", "../project/models/priors/diffusion").replace(
        "fetched/vae", "../project/models/vae"
    )
    elsewhere = work / "example"
    elsewhere.mkdir()
    save = "\nfrom safetensors.torch import save_file\nsave_file({{'images': images, 'codes': codes}}, '{}.safetensors')\n"
    both = code + save.format("fetched") + local + save.format("local")
    subprocess.run([sys.executable, "-c", both], cwd=elsewhere, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
    fetched, local = load_file(elsewhere / "fetched.safetensors"), load_file(elsewhere / "local.safetensors")
    assert fetched["images"].shape == (36, 1, 32, 32)
    assert len(fetched["images"].flatten(1).unique(dim=0)) == 36
    assert all(fetched[name].equal(local[name]) for name in ("images", "codes"))
