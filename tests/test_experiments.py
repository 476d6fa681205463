"""What users of `dvc exp` rely on: every hyperparameter from the command line, runs of what was queued, a readable table."""

import csv
import io
import json
import re
import time

import pytest
from closure import ROOT
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML
from smoke import dvc, git

from toycrystals.metrics.comparison import HEADLINE
from toycrystals.metrics.measures import MEASURES
from toycrystals.runtime.config import load_params

PARAMS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")


def flat(tree, prefix=""):
    for name, value in tree.items():
        yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


CHOICES = {
    "data.variant": "full", "vae.architecture": "conv", "vae.precision": "fp32", "vae.conditional": "false",
    "mop.neighbours": "16", "local.neighbours": "8",
    "diffusion.conditional": "true", "diffusion.scaling": "per_dimension",
    "diffusion.schedule": "linear", "diffusion.prediction": "eps", "diffusion.precision": "bf16",
    # What another param depends on.
    "data.image_size": "48", "diffusion.condition_dropout": "0.5", "sample.sampler": "ddim", "sample.draws": "4",
}  # fmt: skip


def other(name, value):
    """Another value that params.yaml may hold under `name`, as it would be typed."""
    if name in CHOICES:
        return CHOICES[name]
    if isinstance(value, float):
        return {0.0: "0.25", 1.0: "1.5"}.get(value, repr(value / 2)) if name != "sample.eta" else "1e-1"
    return str(value - 1 if value > 1 else value + 1)


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_every_hyperparameter_can_be_set_and_changes_one_line(params):
    """By DVC's own parser, all at once."""
    before = params.read_text().splitlines()
    new = {name: other(name, value) for name, value in flat(PARAMS) if not isinstance(value, list)}
    assert len(new) > 40
    apply_overrides(params, [f"{name}={value}" for name, value in new.items()])
    changed = [lines for lines in zip(before, params.read_text().splitlines(), strict=True) if lines[0] != lines[1]]
    assert len(changed) == len(new)
    loaded = load_params(params).model_dump()
    for name, value in new.items():
        section, _, key = name.partition(".")
        found = loaded[section][key] if key else loaded[section]
        assert str(found).lower() == value or float(found) == float(value), name


def test_a_list_can_be_set(params):
    apply_overrides(params, ["sample.curve=[1,3]", "priors=[mop,diffusion]"])
    assert (load_params(params).sample.curve, load_params(params).priors) == ([1, 3], ["mop", "diffusion"])


@pytest.mark.parametrize("typed", ["1e-5", "0.00001", "1E-5", "1.0e-05", "1.e-5", "+1e-5", "1_0e-6"])
def test_a_number_is_the_same_in_every_notation(params, typed):
    apply_overrides(params, [f"vae.beta={typed}"])
    assert load_params(params).vae.beta == 1e-5


def column_names(text):
    return next(csv.reader(io.StringIO(text)))


def test_table_of_experiments_begins_with_the_headline(finished):
    columns = column_names(dvc(finished, "exp", "show", "--csv").stdout)
    methods = ("reconstruction", "standard", "mop", "local", "diffusion")
    expected = [f"{name}.{method}" for name in HEADLINE for method in methods]
    metrics = [name for name in columns if name.partition(".")[0] in HEADLINE]
    assert [name for name in expected if name in metrics] == metrics
    assert {"psnr.diffusion", "mmd2.mop", "auc.diffusion"} <= set(metrics)
    assert not {"psnr.real", "auc.standard"} & set(metrics)
    assert len(metrics) <= 22
    # Before them the experiment, after them the params in the order of the file, and nothing else of all the metrics.
    start, end = columns.index(metrics[0]), columns.index(metrics[0]) + len(metrics)
    assert set(columns[:start]) <= {"Experiment", "rev", "typ", "Created", "parent", "State", "Executor"}
    assert columns[start:end] == metrics
    names = [name for name, _ in flat(PARAMS)]
    assert columns[end : end + len(names)] == names


def test_headline_is_an_excerpt_of_all_metrics(finished):
    headline, metrics = (json.loads((finished / f"plots/evaluate/{name}.json").read_text()) for name in ("headline", "metrics"))
    for name, values in headline.items():
        for method, value in values.items():
            assert value == pytest.approx(metrics[method][HEADLINE[name]], rel=1e-3)
            assert len(f"{value!r}".replace("-", "").replace(".", "").lstrip("0")) <= 8
    assert set(HEADLINE.values()) <= set(MEASURES)


def experiments(folder):
    shown = json.loads(dvc(folder, "exp", "show", "--json").stdout)
    return {exp["name"]: exp["revs"][0] for commit in shown for exp in commit.get("experiments") or []}


def wait_for_queue(folder, names):
    for _ in range(240):
        status = dvc(folder, "queue", "status").stdout
        states = dict(re.findall(rf"\w+\s+({'|'.join(names)})\s.*?(Success|Failed|Running|Queued)", status))
        if set(states) == set(names) and set(states.values()) <= {"Success", "Failed"}:
            return states
        time.sleep(0.5)
    raise AssertionError(status)


def data_of(folder, experiment):
    """What dvc.lock says of the training split in an experiment: its hash."""
    lock = YAML(typ="safe", pure=True).load(git(folder, "show", f"{experiment['rev']}:dvc.lock"))
    return next(out["md5"] for out in lock["stages"]["generate"]["outs"] if out["path"] == "data/train.safetensors")


def test_queued_runs_use_code_and_params_of_when_they_were_queued(scratch, monkeypatch):
    """A sweep, two at a time, while the checkout is edited; its package is on the path as an editable install would put it."""
    monkeypatch.setenv("PYTHONPATH", str(scratch / "src"))
    dvc(scratch, "exp", "run", "--queue", "--name", "size", "-S", "data.image_size=16,48", "generate")
    (scratch / "src/toycrystals/crystals/render.py").write_text("raise SystemExit('code of the checkout')\n")
    (scratch / "params.yaml").write_text((scratch / "params.yaml").read_text().replace("n_types: 4", "n_types: 2"))
    dvc(scratch, "queue", "start", "--jobs", "2")
    assert wait_for_queue(scratch, ["size-1", "size-2"]) == {"size-1": "Success", "size-2": "Success"}
    found = experiments(scratch)
    assert {found[f"size-{i}"]["data"]["params"]["params.yaml"]["data"]["data"]["image_size"] for i in (1, 2)} == {16, 48}
    assert all(exp["data"]["params"]["params.yaml"]["data"]["data"]["n_types"] == 4 for exp in found.values())
    assert len({data_of(scratch, exp) for exp in found.values()}) == 2
    # The checkout is as the user left it.
    assert git(scratch, "diff", "--name-only").split() == ["params.yaml", "src/toycrystals/crystals/render.py"]


def test_a_queued_sweep_of_floats_is_an_experiment_for_each(scratch):
    dvc(scratch, "exp", "run", "--queue", "--name", "beta", "-S", "vae.beta=1e-6,1e-5,1e-4")
    names = re.findall(r"beta-\d", dvc(scratch, "queue", "status").stdout)
    assert sorted(names) == ["beta-1", "beta-2", "beta-3"]
    queued = experiments(scratch)
    found = {name: queued[name]["data"]["params"]["params.yaml"]["data"]["vae"]["beta"] for name in queued}
    assert {name: float(beta) for name, beta in found.items()} == {"beta-1": 1e-6, "beta-2": 1e-5, "beta-3": 1e-4}


def test_run_elsewhere_leaves_the_workspace_alone_and_can_be_applied(scratch):
    dvc(scratch, "exp", "run", "--temp", "--name", "few", "-S", "data.n_types=2", "generate")
    assert git(scratch, "status", "--porcelain") == ""
    dvc(scratch, "exp", "apply", "few")
    assert git(scratch, "diff", "--unified=0", "params.yaml").count("\n+  n_types: 2") == 1
    assert len(git(scratch, "diff", "--numstat", "params.yaml").splitlines()) == 1
    assert git(scratch, "diff", "--numstat", "params.yaml").split()[:2] == ["1", "1"]


def test_run_in_the_workspace_comes_back_to_its_branch(scratch):
    dvc(scratch, "exp", "run", "--name", "few", "-S", "data.n_types=2", "generate")
    assert git(scratch, "branch", "--show-current").strip() == "main"
    assert "few" in experiments(scratch)


@pytest.mark.parametrize("override", ["vae.bta=1e-5", "sample.steps=2000"])
def test_wrong_param_is_named_and_leaves_the_branch(scratch, override):
    done = dvc(scratch, "exp", "run", "-S", override, check=False)
    assert done.returncode != 0
    # DVC itself refuses a name that params.yaml does not have.
    assert override.split("=")[0] in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert git(scratch, "branch", "--show-current").strip() == "main"
