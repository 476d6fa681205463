"""From what was collected to one HTML file that needs nothing else: styles, scripts, charts and images are inside."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toycrystals.artifacts import atomic
from toycrystals.errors import UserError
from toycrystals.report import descriptions, tables
from toycrystals.report.captions import captioned
from toycrystals.report.charts import metric_charts, steps_charts, training_charts
from toycrystals.report.collect import Results, collect
from toycrystals.report.findings import findings, headline
from toycrystals.report.formats import size
from toycrystals.report.sources import (
    Code,
    Lock,
    Maker,
    Output,
    changed_params,
    check_lock,
    read_code,
    read_makers,
    read_outputs,
    reader_versions,
)

LIBRARIES = Path(".dvc/plots/offline.html")
_NEEDED = ("vega", "vega-lite", "vega-embed")
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Provenance:
    """What is known of where the results come from; `changed` is None where git cannot tell."""

    code: Code
    lock: Lock
    changed: Mapping[str, tuple[Any, Any]] | None
    outputs: Sequence[Output]
    makers: Sequence[Maker]


def trace(root: Path) -> Provenance:
    """Ask git, DVC and the models in the workspace."""
    outputs = read_outputs(root)
    return Provenance(read_code(root), check_lock(root), changed_params(root), outputs, read_makers(root, outputs))


def read_libraries(root: Path) -> dict[str, str]:
    """{NAME@VERSION: script} of what draws the charts, from the page that `dvc plots` is given.

    Raises `UserError` if the page is missing or lacks one of them.
    """
    path = root / LIBRARIES
    try:
        page = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: expected the page that holds the chart libraries, found nothing; take it from git") from None
    scripts = dict(re.findall(r'<script data-package="([^"]+)"[^>]*>(.*?)</script>', page, flags=re.DOTALL))
    for name in _NEEDED:
        if not any(package.rpartition("@")[0] == name for package in scripts):
            raise UserError(f"{path}: expected a script with data-package {name}@VERSION, found none; take the file from git")
    return {package: script for package, script in scripts.items() if package.rpartition("@")[0] in _NEEDED}


def write_report(root: Path, out: Path) -> None:
    """Write the report of the project in `root` to `out`. Raises `UserError` if results are missing; then nothing is written."""
    libraries, results = read_libraries(root), collect(root)
    page = render(results, trace(root), libraries, root)
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(results: Results, provenance: Provenance, libraries: Mapping[str, str], root: Path) -> str:
    """The page; images are read from `root`."""
    environment = Environment(
        loader=PackageLoader("toycrystals", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    params = results.params
    return environment.get_template("page.html.jinja").render(
        # Scripts and styles of the project's own files are the only text that is not escaped.
        style=Markup(_text("style.css")),
        script=Markup(_text("page.js")),
        libraries={package: Markup(script) for package, script in libraries.items()},
        made=datetime.now().astimezone(),
        headline=headline(results),
        findings=findings(results),
        data=descriptions.data_sentence(params),
        factors=tables.plain("Factors of the data", ["factor", "range", "a model sees it"], descriptions.factor_rows(params)),
        vae=descriptions.vae_sentence(params),
        priors=descriptions.prior_rows(results.priors),
        measuring=descriptions.measuring_text(params),
        main=tables.main_table(results),
        by_type=tables.type_table(results),
        pairs=tables.pairs_tables(results),
        everything=tables.all_table(results),
        metrics=metric_charts(results),
        steps=steps_charts(results),
        training=training_charts(results.curves),
        figures=[(figure, _data_uri(root / figure.path)) for figure in captioned(results.figures)],
        params=params.model_dump(),
        changed=provenance.changed,
        code=provenance.code,
        lock=provenance.lock,
        outputs=_outputs(provenance.outputs),
        absent=[out.path for out in provenance.outputs if not out.present],
        versions=_versions(provenance.makers, libraries),
        makers=provenance.makers,
    )


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _data_uri(path: Path) -> str:
    content = path.read_bytes()
    if not (content.startswith(_PNG_BEGIN) and content.endswith(_PNG_END)):
        raise UserError(f"{path}: expected a PNG image, found a part of one or something else; delete it and run `dvc repro`")
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _outputs(outputs: Sequence[Output]) -> tables.Table:
    rows = [[out.path, out.stage, size(out.size), out.md5, "yes" if out.present else "no"] for out in outputs]
    return tables.plain("Datasets and models in dvc.lock", ["path", "stage", "size", "md5", "in the workspace"], rows)


def _versions(makers: Sequence[Maker], libraries: Mapping[str, str]) -> tables.Table:
    """A row a package, a column the report and each set of versions that models were made with."""
    sets: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for maker in makers:
        if maker.versions:
            sets.setdefault(tuple(sorted(maker.versions.items())), []).append(Path(maker.path).stem)
    reader = reader_versions() | {package.rpartition("@")[0]: package.rpartition("@")[2] for package in libraries}
    columns = [*(dict(found) for found in sets), reader]
    names = dict.fromkeys(name for column in reversed(columns) for name in column)
    head = ["package", *("made " + ", ".join(models) for models in sets.values()), "made this page"]
    return tables.plain("Versions", head, [[name, *(column.get(name, "") for column in columns)] for name in names])
