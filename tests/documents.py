"""Commands and their output as README.md and docs/ show them."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(console|bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REVISION = re.compile(r"(?<!\w)[0-9a-f]{7,40}(?!\w)")
# Not the digits of a name (x0, objective-1, v1.0.0).
_NUMBER = re.compile(r"(?<![\w.-])[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?![\w.-]*\w)")


@dataclass
class Command:
    """A command line and the lines shown below it; `line` is where it stands."""

    text: str
    line: int
    output: list[str] = field(default_factory=list)

    @property
    def fails(self) -> bool:
        """Whether the document shows it fail."""
        return any(re.match(r"error:|ERROR:", line) for line in self.output)

    def missing(self, printed: str) -> list[str]:
        """Lines that the document shows and that `printed` does not hold.

        Revisions and numbers may be any: results are those of another project. A row of a table must be among the printed
        rows with all its cells in their order; these may have more columns, since experiments shown earlier add theirs. The
        order of lines is free, as is that of experiments.
        """
        lines = [cells(line) for line in printed.splitlines()]
        shown = [line for line in self.output if line.strip() != "..." and any(cells(line))]
        return [line for line in shown if not any(_shows(cells(line), found) for found in lines)]


def cells(line: str) -> list[str]:
    """The cells of a table's row, or a line as the only one, without blanks, rules, and what differs from run to run."""
    plain = re.sub(r"[\u2500-\u257f]|-{3,}", "", line)
    plain = _NUMBER.sub("#", _REVISION.sub("#", plain))
    row = plain.strip().startswith("|")
    return [" ".join(cell.split()) for cell in (plain.strip().strip("|").split("|") if row else [plain])]


def _shows(shown: list[str], printed: list[str]) -> bool:
    """Whether the cells of `shown` are among those of `printed`, in this order."""
    rest = iter(printed)
    return all(cell in rest for cell in shown) and (len(shown) > 1 or len(printed) == 1)


def commands(document: Path) -> list[Command]:
    """All commands of a document, from top to bottom.

    Those after ``$`` in console blocks, each line of bash blocks, and Python blocks that are programs: that begin with an import.
    """
    text = document.read_text()
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        first = text[: block.start(2)].count("\n") + 1
        if block[1] == "python":
            if re.match(r"from |import ", block[2]):
                found.append(Command(f"python -c {shlex.quote(block[2])}", first))
            continue
        for number, line in enumerate(block[2].splitlines(), first):
            command = re.sub(r"\s+# .*", "", line)
            if found and found[-1].text.endswith("\\"):
                found[-1].text = f"{found[-1].text[:-1]} {command.strip()}"
            elif block[1] == "console" and line.startswith("$ "):
                found.append(Command(command[2:], number))
            elif block[1] == "console":
                found[-1].output.append(line)
            elif command.strip() and not command.startswith("#"):
                found.append(Command(command, number))
    return found
