"""One finished tiny project for all tests, and DVC without its imports where no test stops it."""

import shutil

import pytest
import smoke
from smoke import commit_all, dvc
from tiny import finish_project


@pytest.fixture(autouse=True)
def quick_dvc(quick_start, monkeypatch):
    for module in ("repository", "verify"):
        monkeypatch.setattr(f"dvccare.{module}.DVC", (str(smoke.PYTHON), "-m", "dvc"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, quick_start):
    """A finished project whose cache has also been pushed to a remote; to be read, never changed."""
    folder = tmp_path_factory.mktemp("tiny")
    project = finish_project(folder / "project")
    dvc(project, "remote", "add", "--default", "store", str(folder / "store"))
    dvc(project, "push")
    commit_all(project, "remote")
    return project


@pytest.fixture
def project(tiny, tmp_path):
    """The finished project again, free to be changed and damaged."""
    return shutil.copytree(tiny, tmp_path / "project", symlinks=True)
