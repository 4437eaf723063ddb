"""How this Python runs one of our own modules."""

import sys


def python_module(module: str) -> list[str]:
    """The command that runs a module of ours, and not a namesake in the current directory."""
    return [sys.executable, "-P", "-m", module]
