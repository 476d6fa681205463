"""The stages of dvc.yaml, run as ``python -m stages.NAME`` from the project's root.

A script says what happens: its arguments are paths and sections of params.yaml, its work a few calls of the library. It runs the
package of this checkout, whatever is installed, so that an experiment in another folder runs its own code.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from toycrystals.runtime.process import begin_process  # noqa: E402 (found by the line above)

begin_process()

from toycrystals.runtime.guard import Guard  # noqa: E402 (Ctrl-C is to be quiet also while this is imported)

GUARD = Guard(ROOT)
