"""The stages of dvc.yaml, run as ``python -m stages.NAME`` from the project's root.

A script says what happens: its arguments are paths, its numbers one section of params.yaml, its work one call of the library.
It runs the package of this checkout, whatever is installed, so that an experiment in another folder runs its own code.
"""

import sys
from pathlib import Path

from stages.guard import Guard
from stages.process import begin_process

begin_process()
ROOT = Path(__file__).resolve().parents[1]
GUARD = Guard(ROOT)
sys.path.insert(0, str(ROOT / "src"))
