"""Write offline.html, the page of `dvc plots`: page.html with the pinned libraries inside, so that it needs no network.

Run `npm ci` in this folder first, or ``make plots-page``.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
# In the order in which they need each other.
SCRIPTS = {
    "vega": "build/vega.min.js",
    "vega-lite": "build/vega-lite.min.js",
    "vega-embed": "build/vega-embed.min.js",
}
# Dependencies of programs for the command line and of Node alone; no script for browsers holds them.
NOT_IN_BROWSERS = {"commander", "iconv-lite", "node-fetch", "rw", "yargs"}
MARK = "<!-- packages -->"
# What DVC fills in, wherever it stands; {scripts} would be tags that load the same libraries from the network.
PLACEHOLDERS = ("{plot_divs}", "{refresh_tag}", "{scripts}")


def page(source: str, packages: Path) -> str:
    """The page `source` with the libraries of the folder `packages` (npm's node_modules) in place of its mark."""
    return source.replace(MARK, "\n".join(script(packages, name) for name in SCRIPTS))


def script(packages: Path, name: str) -> str:
    """One library as `<script data-package="NAME@VERSION" data-sha256="...">`, after the licenses of what it is made from.

    Raises ValueError if the code holds what DVC would take for a placeholder.
    """
    code = re.sub(r"//# sourceMappingURL=\S+\s*$", "", (packages / name / SCRIPTS[name]).read_text())
    body = f"\n/*!\n{licenses(packages / name)}\n*/\n{code.strip()}\n"
    # A parser of HTML ends a script at the first such tag, also within a string; to JavaScript "<\/" is the same string.
    body = re.sub(r"</(?=script)", r"<\\/", body, flags=re.IGNORECASE)
    if found := [text for text in PLACEHOLDERS if text in body]:
        raise ValueError(f"{name} holds {found[0]}, which DVC would replace")
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'<script data-package="{title(packages / name)}" data-sha256="{digest}">{body}</script>'


def title(package: Path) -> str:
    """NAME@VERSION of an installed package."""
    meta = json.loads((package / "package.json").read_text())
    return f"{meta['name']}@{meta['version']}"


def licenses(package: Path) -> str:
    """The license texts of an installed package and of all that it is made from, each text once, under the packages' names."""
    holders: dict[str, list[str]] = {}
    for used in closure(package, {}).values():
        identifier = json.loads((used / "package.json").read_text())["license"]
        files = sorted(used.glob("[Ll][Ii][Cc][Ee][Nn][Ss][Ee]*"))
        text = files[0].read_text().strip().replace("*/", "* /") if files else f"{identifier}, as its package.json says"
        holders.setdefault(text, []).append(title(used))
    return "\n\n".join(f"{', '.join(names)}:\n{text}" for text, names in holders.items())


def closure(package: Path, found: dict[str, Path]) -> dict[str, Path]:
    """Add an installed package and its dependencies to `found`, {NAME@VERSION: folder}."""
    if title(package) not in found:
        found[title(package)] = package
        needed = json.loads((package / "package.json").read_text()).get("dependencies", {})
        for name in sorted(needed.keys() - NOT_IN_BROWSERS):
            closure(installed(name, package), found)
    return found


def installed(name: str, seen_from: Path) -> Path:
    """The folder that `name` means to a package: the nearest node_modules upwards that holds it."""
    return next(
        folder / "node_modules" / name
        for folder in [seen_from, *seen_from.parents]
        if (folder / "node_modules" / name / "package.json").is_file()
    )


def main() -> None:
    """Write the page; `--packages` and `--out` are there for tests."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--packages", type=Path, default=HERE / "node_modules")
    parser.add_argument("--out", type=Path, default=HERE / "offline.html")
    arguments = parser.parse_args()
    arguments.out.write_text(page((HERE / "page.html").read_text(), arguments.packages))


if __name__ == "__main__":
    main()
