"""Executes its first argument, with the others as its own."""

import sys

source = sys.argv.pop(1)
exec(compile(source, "source", "exec"), {"__name__": "__main__"})  # noqa: S102  # what the test says
