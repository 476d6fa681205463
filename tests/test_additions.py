"""What DESIGN promises of additions: each touches two files, and shows up in the table. Each is made for real, in a copy."""

import re
import textwrap

import pandas as pd
import pytest
from closure import ROOT
from smoke import dvc, git, set_params

pytestmark = pytest.mark.acceptance


def written(folder):
    """What a person wrote: the paths that differ from the commit, without what a run writes."""
    changed = git(folder, "status", "--porcelain", "--untracked-files=all").splitlines()
    paths = {line[3:] for line in changed}
    return {path for path in paths if path != "dvc.lock" and not path.startswith("plots/") and not path.endswith(".gitignore")}


def insert(path, before, text):
    """Add lines to a source in front of the line that starts with `before`."""
    source = path.read_text()
    assert source.count(f"\n{before}") == 1
    path.write_text(source.replace(f"\n{before}", f"\n{textwrap.dedent(text).strip()}\n{before}"))


def table(folder):
    dvc(folder, "repro")
    return pd.read_csv(folder / "plots/evaluate/table.csv")


def test_a_prior_as_the_document_writes_it(scratch):
    document = (ROOT / "docs/design.md").read_text()
    prior = re.search(r"```python\n# (src/toycrystals/priors/gaussian\.py)\n(.+?)```", document, re.DOTALL)
    section = re.search(r"```yaml\n# params\.yaml\n(.+?)```", document, re.DOTALL)
    (scratch / prior[1]).write_text(prior[2])
    params = (scratch / "params.yaml").read_text().replace("- diffusion\n", "- diffusion\n- gaussian\n", 1)
    added = section[1].split("\ngaussian:", 1)
    (scratch / "params.yaml").write_text(params + "\ngaussian:" + added[1])
    rows = table(scratch).query("method == 'gaussian' and type == 'all'").set_index("metric")
    assert {"matched_psnr", "mmd2_pca", "latent_auc_boosted"} <= set(rows.index)
    assert (scratch / "plots/figures/worst_gaussian.png").exists()
    assert written(scratch) == {prior[1], "params.yaml"}


def test_a_metric(scratch):
    insert(
        scratch / "src/toycrystals/metrics/distribution.py",
        "def check_paired",
        '''
        @on_images("distribution", mass_w1="lower")
        def mass_of_images(judged: JudgedImages) -> Measures:
            """Wasserstein-1 distance between the mean pixel values of the images and of the held-out images."""
            a, b = judged.unit.mean(axis=(1, 2)), judged.held_out.images.mean(axis=(1, 2, 3)) / 255.0
            return {("mass_w1", ALL): wasserstein1(a, b, judged.weights)}


        ''',
    )
    row = '    "mass_w1": Label("mean brightness, W1", log=True),'
    insert(scratch / "src/toycrystals/results/catalogue.py", '    "active_units"', row)
    rows = table(scratch).query("metric == 'mass_w1'").set_index("method")
    assert {"real", "reconstruction", "mop"} <= set(rows.index)
    assert rows["floor"].notna().all()
    assert (rows["low"] <= rows["value"]).all()
    assert written(scratch) == {"src/toycrystals/metrics/distribution.py", "src/toycrystals/results/catalogue.py"}


def test_a_sampler(scratch):
    source = scratch / "src/toycrystals/diffusion/sampler.py"
    insert(
        source,
        "# Samplers by name",
        '''
        def renoise_step(step: Step, schedule: Schedule, _eta: float, generator: torch.Generator) -> Tensor:
            """The estimate x_0, with fresh noise of level s."""
            alpha_s, sigma_s = schedule(step.s)
            z = torch.randn(step.x_t.shape, generator=generator, device=step.x_t.device, dtype=step.x_t.dtype)
            return float(alpha_s) * step.x_0 + float(sigma_s) * z


        ''',
    )
    known = 'SAMPLERS = {"ddim": ddim_step'
    assert source.read_text().count(known) == 1
    source.write_text(source.read_text().replace(known, f'{known}, "renoise": renoise_step'))
    before = pd.read_csv(scratch / "plots/evaluate/table.csv").query("method == 'diffusion'")
    set_params(scratch, {"sample": {"sampler": "renoise"}})
    after = table(scratch).query("method == 'diffusion'")
    psnr = [rows.query("metric == 'matched_psnr' and type == 'all'")["value"].item() for rows in (before, after)]
    assert psnr[0] != psnr[1]
    assert written(scratch) == {"src/toycrystals/diffusion/sampler.py", "params.yaml"}


def test_a_lattice_type(scratch):
    insert(
        scratch / "src/toycrystals/crystals/lattice.py",
        ")\nTYPES",
        '    Lattice("kagome", (2.0, 0.0), (1.0, SQRT3), ((0.0, 0.0), (1.0, 0.0), (0.5, SQRT3 / 2)), symmetry_order=2),',
    )
    set_params(scratch, {"data": {"n_types": 5}})
    rows = table(scratch)
    assert {"kagome", "honeycomb", "all"} <= set(rows["type"])
    real = rows.query("method == 'real' and metric == 'type_frequency'").set_index("type")["value"]
    assert real["kagome"] == pytest.approx(0.2, abs=0.02)
    assert written(scratch) == {"src/toycrystals/crystals/lattice.py", "params.yaml"}
