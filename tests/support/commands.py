"""Commands of `runyard`, each in a fork of a process that has loaded all of them.

A start from nothing takes half a second of a core. What a command does, prints and exits with is the same;
that it starts from nothing is what `tests/e2e/test_dev.py` shows.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cli import main
from tests.support.faults import family, kill

COLUMNS: Final = "200"  # the width of messages, which is read when they are loaded


class Commands:
    """Executes one command after another."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self._output = directory / "output"
        self._errors = directory / "errors"

    def run(
        self, words: Sequence[str], env: Mapping[str, str], directory: Path
    ) -> subprocess.CompletedProcess[str]:
        """Execute `runyard WORDS` in a directory with an environment; return how it ended, and its output."""
        order = [list(words), dict(env), str(directory), str(self._output), str(self._errors)]
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        output, errors = (path.read_text(encoding="utf-8") for path in (self._output, self._errors))
        return subprocess.CompletedProcess(words, code, output, errors)


@contextmanager
def loaded_commands(directory: Path) -> Generator[Commands]:
    """The process that executes commands, for the length of a block."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        env={**env, "COLUMNS": COLUMNS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Commands(process, directory)
        finally:
            if process.poll() is None:
                kill(*family(process.pid))


def serve() -> None:
    """Execute each command that is ordered, in a fork, and answer with its exit code."""
    for import_path in main.COMMANDS.values():
        importlib.import_module(import_path.partition(":")[0])
    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            become(*json.loads(order))
            main.main()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def become(words: list[str], env: dict[str, str], directory: str, output: str, errors: str) -> None:
    """Make of a fork what a shell makes of a command."""
    for number, path, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
        (2, errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
    ):
        opened = os.open(path, how, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(directory)
    sys.argv = ["runyard", *words]


if __name__ == "__main__":
    serve()
