"""The release before this one, from the history of the checkout."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.checkout import ROOT

PREVIOUS: Final = "ab5436f3f47c4a5b35e8bec13f32b3a45efe33de"
"""The release before this one: a commit of main, as there are no tags yet. Its last migration is 0019.

It must be one that main has had. On branches, migrations were put in order later: their schemas have the same
numbers, and are others.
"""


def unpack_previous(directory: Path) -> Path:
    """Unpack the code of the release before this one.

    A checkout that lacks its history, as an archive or a shallow clone does, skips the test.
    """
    git = shutil.which("git")
    if git is None:
        pytest.skip("the release before this one is in the history, and git is not installed")
    found = subprocess.run([git, "archive", PREVIOUS], cwd=ROOT, check=False, capture_output=True)
    if found.returncode != 0:
        pytest.skip(f"the history here lacks the release before this one: {found.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory
