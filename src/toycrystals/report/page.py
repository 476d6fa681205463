"""From what was collected to one HTML file that needs nothing else: styles, scripts, charts and images are inside."""

import ast
import base64
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML

from toycrystals import priors
from toycrystals.crystals.lattice import LATTICES
from toycrystals.crystals.variants import VARIANTS
from toycrystals.metrics.base import AT_FLOOR, NO_IMAGE
from toycrystals.report import findings, formats
from toycrystals.report.collect import Results, collect
from toycrystals.report.sources import trace, versions
from toycrystals.results import charts
from toycrystals.results.catalogue import CHART
from toycrystals.runtime.config import prior_names
from toycrystals.runtime.errors import UserError
from toycrystals.runtime.files import atomic

LIBRARIES = Path(".dvc/plots/offline.html")
_NEEDED = ("vega", "vega-lite", "vega-embed")


def write_report(root: Path, out: Path) -> None:
    """Write the report of the project in `root` to `out`. Raises `UserError` if results are missing; then nothing is written."""
    libraries, results = read_libraries(root), collect(root)
    page = render(root, results, trace(root), libraries)
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_libraries(root: Path) -> dict[str, str]:
    """{NAME@VERSION: script} of what draws the charts, from the page of `dvc plots`. Raises `UserError` if one is missing."""
    path = root / LIBRARIES
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    scripts = re.findall(r'<script data-package="([^"]+)"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    found = {package: script for package, script in scripts if package.rpartition("@")[0] in _NEEDED}
    if len(found) < len(_NEEDED):
        raise UserError(f"{path}: expected a page that holds {formats.listed(_NEEDED)}; take the file from git")
    return found


@cache
def templates() -> Environment:
    """The templates, and what they call."""
    loader = PackageLoader("toycrystals", "report")
    made = Environment(autoescape=True, undefined=StrictUndefined, loader=loader, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"label": formats.label, "listed": formats.listed, "p_value": formats.p_value}
    made.globals |= {"AT_FLOOR": AT_FLOOR, "NO_IMAGE": NO_IMAGE, "form_of": formats.form_of, "levels": formats.levels}
    made.globals |= {"charts": charts, "findings": findings}
    return made


def render(root: Path, results: Results, provenance: Mapping[str, Any], libraries: Mapping[str, str]) -> str:
    """The page; `provenance` is what `trace` tells, images are read from `root`."""
    content = YAML(typ="safe", pure=True).load(Path(__file__).with_name("content.yaml"))
    known = [name for name in content["columns"] if len(results.of_priors(name))]
    return (
        templates()
        .get_template("page.html.jinja")
        .render(
            **provenance,
            results=results,
            params=results.params,
            variant=VARIANTS[results.params.data.variant],
            lattices=LATTICES[: results.params.data.n_types],
            content=content,
            priors={name: what_it_is(name) for name in results.priors},
            main=[name for name in known if content["instead"].get(name) not in known],
            charted=[name for name in CHART if name in results.metrics],
            figures=[
                (path, caption, base64.b64encode((root / path).read_bytes()).decode())
                for path, caption in captioned(results.figures, content["captions"])
            ],
            versions=versions(provenance["makers"], libraries),
            libraries=libraries,
            made=datetime.now().astimezone(),
        )
    )


def what_it_is(prior: str) -> str:
    """The first paragraph of what the prior's module says of itself; it is not imported, for it may need much."""
    if prior not in prior_names():
        return "A prior that this checkout does not have."
    said = ast.get_docstring(ast.parse(Path(priors.__path__[0], f"{prior}.py").read_text(encoding="utf-8"))) or ""
    return said.split("\n\n")[0].replace("\n", " ")


def captioned(figures: Iterable[Path], captions: Mapping[str, Mapping[str, str] | None]) -> list[tuple[Path, dict[str, str]]]:
    """Figures with title, text and alt, in the order of the captions: {pattern: caption, or None for what is not shown}.

    {name} in a caption stands for what the * of the pattern matched. A figure without a caption comes last, with its path.
    """
    rest, found = [path.as_posix() for path in figures], []
    for pattern, caption in captions.items():
        for path in [path for path in rest if fnmatch(path, pattern)]:
            rest.remove(path)
            name = formats.label(Path(path).stem.removeprefix(Path(pattern).stem.rstrip("*")))
            if caption:
                found.append((Path(path), {key: text.replace("{name}", name) for key, text in caption.items()}))
    return found + [(Path(path), {"title": path, "text": "", "alt": f"Figure {path}"}) for path in rest]
