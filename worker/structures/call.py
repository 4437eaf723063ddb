"""Calls `module:function` with the run's arguments; what it returns, if anything, is the run's output.

    call.py SCOPE TARGET ARGUMENT…

`SCOPE` is `defined` where the operator allows what a module defines, as opposed to what it imports, and
`named` where the function itself is allowed.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable

from worker.structures.finish import finish_or_exit


def main() -> None:
    scope, target, *args = sys.argv[1:]
    result = _function(target, has_to_be_defined=scope == "defined")(*args)
    if result is not None:
        finish_or_exit(result if isinstance(result, str) else json.dumps(result, default=str))


def _function(target: str, *, has_to_be_defined: bool) -> Callable[..., object]:
    """What a target names: an attribute of the module itself, found without a walk."""
    name, _, attribute = target.partition(":")
    module = importlib.import_module(name)
    found: object = vars(module).get(attribute)
    if has_to_be_defined and not (inspect.isfunction(found) and found.__module__ == module.__name__):
        sys.exit(f"{name} defines no function {attribute!r}: what it imports is not allowed with it.")
    if not callable(found):
        sys.exit(f"{name} has no function {attribute!r}.")
    return found


if __name__ == "__main__":
    main()
