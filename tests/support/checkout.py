"""Where the tested checkout is, and what is in it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "tests" / "support" / "structures"


def tracked_files() -> list[Path]:
    """Every file that git tracks, or would if it were added."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607  # git, wherever it is
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]
