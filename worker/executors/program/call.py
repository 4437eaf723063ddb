"""The script of a callable: calls `module:function` with the run's arguments; its result is the run's output.

    call.py SCOPE TARGET ARGUMENT…

`SCOPE` is `defined` if the operator allows the functions that a module defines, without those it imports, and
`named` if the operator allows the function itself.
"""

import importlib
import inspect
import json
import sys

from worker.executors.program.finish import finish_or_exit


def main() -> None:
    scope, target, *args = sys.argv[1:]
    name, _, attribute = target.partition(":")
    module = importlib.import_module(name)
    function: object = vars(module).get(attribute)  # of the module itself
    is_defined = inspect.isfunction(function) and function.__module__ == module.__name__
    if scope == "defined" and not is_defined:
        sys.exit(f"{name} defines no function {attribute!r}; functions that it imports are not allowed.")
    if not callable(function):
        sys.exit(f"{name} has no function {attribute!r}.")
    result = _completed(function(*args))
    if result is not None:
        finish_or_exit(result if isinstance(result, str) else json.dumps(result, default=str))


def _completed(result: object) -> object:
    """Return a result; the code of a coroutine or a generator runs only now."""
    if inspect.iscoroutine(result):
        import asyncio  # noqa: PLC0415  # few functions need it

        return asyncio.run(result)
    return list(result) if inspect.isgenerator(result) else result


if __name__ == "__main__":
    main()
