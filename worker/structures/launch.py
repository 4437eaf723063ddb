"""Becomes a program: takes its arguments and variables from a descriptor, and executes its main file.

    python -I -u launch.py ORDER BEGUN

So neither is to be seen in the table of processes, and no variable of a caller's is there while the
interpreter starts. A byte into `BEGUN` says that it came so far. Standard library alone.
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
    with open(order, "rb") as told:  # noqa: PTH123  # a descriptor
        _prepare(json.load(told))
    with io.open_code(os.path.abspath(sys.argv[0])) as file:  # noqa: PTH100  # pathlib is dear
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
    # Threads keep to what was in force when the interpreter was started.
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (order["stack"], most))


def _execute(source: bytes, path: str) -> None:
    """Execute a file as the interpreter would that is started with it."""
    main_module = ModuleType("__main__")
    names = main_module.__dict__
    names.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main_module
    sys.excepthook = _show
    exec(compile(source, path, "exec", dont_inherit=True), names)  # noqa: S102  # what it is for


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error as if this file were not there."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    main()
