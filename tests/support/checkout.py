"""Where the tested checkout is."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "tests" / "support" / "structures"
