"""What is generated beside the templates of `dvc plots` is what its sources and the pinned packages give."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import pytest
from closure import ROOT

FOLDER = ROOT / ".dvc/plots"
PAGE = (FOLDER / "offline.html").read_text()
SCRIPT = re.compile(r'<script data-package="([^"]+)@([^"@]+)" data-sha256="(\w+)">(.*?)</script>', re.DOTALL)
NETWORK = {"ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT"}


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_page, build_templates = load("build_page"), load("build_templates")


@pytest.mark.parametrize("name", build_templates.TEMPLATES)
def test_templates_are_the_charts_of_the_results(name):
    """Else: make plots-page."""
    assert (FOLDER / name).read_text() == build_templates.text(build_templates.TEMPLATES[name]())


def test_there_is_no_other_template():
    assert {path.name for path in FOLDER.glob("*.json")} - {"package.json", "package-lock.json"} == set(build_templates.TEMPLATES)


def test_page_is_its_source_around_the_pinned_scripts():
    found = SCRIPT.findall(PAGE)
    mark = build_page.MARK
    assert SCRIPT.sub(mark, PAGE).replace("\n".join([mark] * len(found)), mark) == (FOLDER / "page.html").read_text()
    pinned = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert {name: version for name, version, _, _ in found} == pinned
    assert {name: locked[f"node_modules/{name}"]["version"] for name in pinned} == pinned
    for name, _, digest, body in found:
        assert hashlib.sha256(body.encode()).hexdigest() == digest, name
        assert "Copyright" in body


def test_lock_names_no_registry_and_checks_every_package():
    text = (FOLDER / "package-lock.json").read_text()
    assert "resolved" not in text
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_page_loads_nothing():
    outside = SCRIPT.sub("", PAGE)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'][a-z]+:""", outside)
    assert "default-src 'none'" in outside
    for text in build_page.PLACEHOLDERS:
        assert PAGE.count(text) == (0 if text == "{scripts}" else 1)


def package(folder, name, code="", dependencies=()):
    path = folder / "node_modules" / name
    (path / "build").mkdir(parents=True)
    meta = {"name": name, "version": "1.0.0", "license": "MIT", "dependencies": dict.fromkeys(dependencies, "*")}
    (path / "package.json").write_text(json.dumps(meta))
    (path / "LICENSE").write_text(f"Copyright {name}")
    (path / "build/vega.min.js").write_text(code)
    return path


def test_a_script_cannot_end_itself_and_keeps_all_licenses(tmp_path):
    package(tmp_path, "vega", 'x = "</script><!--";\n//# sourceMappingURL=vega.min.js.map', ["d3", "yargs"])
    package(tmp_path, "d3")
    element = build_page.script(tmp_path / "node_modules", "vega")
    ((name, version, digest, body),) = SCRIPT.findall(element)
    assert (name, version) == ("vega", "1.0.0")
    assert digest == hashlib.sha256(body.encode()).hexdigest()
    assert r"<\/script>" in body
    assert "sourceMappingURL" not in body
    assert "vega@1.0.0:\nCopyright vega" in body
    assert "d3@1.0.0:\nCopyright d3" in body


@pytest.mark.parametrize("placeholder", build_page.PLACEHOLDERS)
def test_a_script_with_a_placeholder_of_dvc_is_refused(tmp_path, placeholder):
    package(tmp_path, "vega", f"x = '{placeholder}'")
    with pytest.raises(ValueError, match=re.escape(placeholder)):
        build_page.script(tmp_path / "node_modules", "vega")


def test_page_is_what_the_pinned_packages_give(tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(FOLDER / name, tmp_path)
    command = [npm, "ci", "--omit=optional", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode and set(re.findall(r"code (\w+)", done.stderr)) & NETWORK:
        pytest.skip("npm reaches no registry")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "offline.html"
    build = [sys.executable, FOLDER / "build_page.py", "--packages", tmp_path / "node_modules", "--out", out]
    subprocess.run(build, check=True)
    assert out.read_text() == PAGE
