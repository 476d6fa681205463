"""Commands and their output as README.md and docs/ show them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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

    @property
    def fixed_output(self) -> list[str]:
        """Lines that say the same on every run: no numbers, no revisions, no table rules."""
        return [line.strip() for line in self.output if re.search(r"[a-z]", line) and not re.search(r"\d|\.\.\.", line)]


def commands(document: Path) -> list[Command]:
    """All commands of a document, from top to bottom: those after ``$`` in console blocks, each line of bash blocks."""
    text = document.read_text()
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        first = text[: block.start(2)].count("\n") + 1
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
