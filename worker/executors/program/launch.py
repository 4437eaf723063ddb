"""The launcher: reads a program's arguments and variables from a descriptor, and executes its main file.

    python -I -u launch.py ORDER BEGUN

So the process table shows neither, and the interpreter starts without a caller's variables. A byte written to
`BEGUN` reports the start of the program. Standard library alone.
"""

import io
import json
import os
import resource
import site
import sys
from types import ModuleType, TracebackType
from typing import Any


def main() -> None:
    order, begun = map(int, sys.argv[1:])
    with open(order, "rb") as file:  # noqa: PTH123  # a descriptor
        _prepare(json.load(file))
    with io.open_code(os.path.abspath(sys.argv[0])) as file:  # noqa: PTH100  # pathlib is slow to import
        source = file.read()
    os.write(begun, b"+")
    os.close(begun)
    _execute(source, os.path.abspath(sys.argv[0]))  # noqa: PTH100


def _prepare(order: dict[str, Any]) -> None:
    sys.argv[:] = order["arguments"]
    sys.path[:0] = order["path"]
    os.environ.update(order["variables"])
    if order["packages"] is not None:
        site.addsitedir(order["packages"])
    # Threads of the interpreter keep the stack limit from its start.
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (order["stack"], most))


def _execute(source: bytes, path: str) -> None:
    """Execute a file as the main module."""
    main_module = ModuleType("__main__")
    names = main_module.__dict__
    names.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main_module
    sys.excepthook = _show
    exec(compile(source, path, "exec", dont_inherit=True), names)  # noqa: S102  # the purpose of the launcher


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error without the launcher's frames."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    main()
