"""How the command is called here: what hints print works as printed, also if it is not on the path."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

NAME: Final = "runyard"


def runyard(words: str) -> str:
    """A command line for the reader's shell: `runyard`, or where it is, and what follows it."""
    return f"{shlex.quote(_program())} {words}"


def _program() -> str:
    called = Path(sys.argv[0])
    program = called if called.name == NAME else Path(sys.executable).with_name(NAME)
    found = shutil.which(NAME)
    if not program.exists() or (found is not None and Path(found).samefile(program)):
        return NAME
    absolute = program.absolute()
    here = Path.cwd()
    if not absolute.is_relative_to(here):
        return os.fspath(absolute)
    relative = os.fspath(absolute.relative_to(here))
    return relative if os.sep in relative else f"./{relative}"
