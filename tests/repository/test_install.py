"""What scripts/install leaves behind."""

import subprocess
import sys

import pytest

from tests.support.checkout import ROOT

GUARD = ROOT / "scripts" / "guard_command.py"
COMMAND = "#!{python}\nimport sys\nif __name__ == '__main__':\n    sys.exit('said ' + sys.argv[1])\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with spaces in its name, and a command in its environment, as pip writes it."""
    folder = tmp_path / "a folder"
    command = folder / ".venv" / "bin" / "runyard"
    command.parent.mkdir(parents=True)
    (command.parent / "python").symlink_to(sys.executable)
    command.write_text(COMMAND.format(python=command.parent / "python"))
    command.chmod(0o755)
    subprocess.run([sys.executable, GUARD], cwd=folder, check=True)
    return folder


def said_by(command):
    return subprocess.run([command, "hello"], capture_output=True, text=True, check=False).stderr


def test_the_command_works_where_it_was_installed_and_through_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / ".venv" / "bin" / "runyard")
    assert said_by(folder / ".venv" / "bin" / "runyard") == "said hello\n"
    assert said_by(tmp_path / "link") == "said hello\n"


def test_in_a_folder_that_was_moved_it_says_what_to_do(folder, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    said = said_by(moved / ".venv" / "bin" / "runyard")
    assert said == f"Error: {moved} was installed as {folder} and has been moved: run `make install` in it.\n"
