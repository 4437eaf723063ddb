"""The command line of `runyard` for hints: it works as printed, even if `runyard` is not on PATH."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

NAME: Final = "runyard"


def runyard(words: str) -> str:
    """Return a command line for the reader's shell: `runyard` or its path, and `words`."""
    called = Path(sys.argv[0])
    program = called if called.name == NAME else Path(sys.executable).with_name(NAME)
    found = shutil.which(NAME)
    if not program.exists() or (found is not None and Path(found).samefile(program)):
        return f"{NAME} {words}"
    shown = absolute = program.absolute()
    if absolute.is_relative_to(Path.cwd()):
        shown = absolute.relative_to(Path.cwd())
        if len(shown.parts) == 1:  # not looked for in the current directory
            return f"{shlex.quote(f'./{shown}')} {words}"
    return f"{shlex.quote(os.fspath(shown))} {words}"
