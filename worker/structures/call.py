"""Calls `module:callable` with the run's arguments; what it returns, if anything, is the run's output."""

import importlib
import json
import sys

from worker.structures.finish import finish


def main() -> None:
    target, *args = sys.argv[1:]
    module, _, name = target.partition(":")
    result = getattr(importlib.import_module(module), name)(*args)
    if result is not None:
        finish(result if isinstance(result, str) else json.dumps(result, default=str))


if __name__ == "__main__":
    main()
