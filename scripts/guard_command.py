"""Make the command `runyard` of .venv report a moved folder."""

from pathlib import Path

# A shell finds the interpreter beside the command; to Python, the shell's line is a string.
HEAD = """#!/bin/sh
'''exec' "$(dirname "$(readlink -f "$0")")/python" "$0" "$@"
' '''
import os
import sys

here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
if here != os.path.realpath({root!r}):
    sys.exit(f"Error: {{here}} was installed as {root} and has been moved: run `make install` in it.")
"""


def main() -> None:
    root = Path.cwd()
    command = root / ".venv" / "bin" / "runyard"
    code = command.read_text(encoding="utf-8").partition("import sys\n")[2]
    command.write_text(HEAD.format(root=str(root)) + code, encoding="utf-8")


if __name__ == "__main__":
    main()
