"""Levels of loggers by module, and the libraries whose lines quote what users write."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

FLOORS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "anthropic": logging.WARNING,
        "boto3": logging.WARNING,
        "botocore": logging.WARNING,
        "cohere": logging.WARNING,
        "google_genai": logging.WARNING,
        "griptape": logging.CRITICAL,  # every question, answer and traceback
        "httpcore": logging.WARNING,
        "httpcore2": logging.WARNING,
        "httpx": logging.WARNING,  # URLs with their queries
        "httpx2": logging.WARNING,
        "kombu.transport.redis": logging.ERROR,  # messages that it cannot read
        "openai": logging.WARNING,
        "psycopg": logging.INFO,
        "sqlalchemy.engine": logging.INFO,  # rows; statements stand without their parameters
        "urllib3": logging.WARNING,
    }
)
"""The lowest level of libraries that quote prompts, answers, keys or rows below it. None is ever lower."""


def parse_levels(text: str) -> dict[str, int]:
    """Read `module=level` pairs, separated by commas, such as `worker.attempt=debug,celery=warning`.

    Raises:
        ValueError: a pair is malformed or twice there, a level is unknown, or it is below a library's floor.
    """
    levels: dict[str, int] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, level = (part.strip() for part in pair.partition("="))
        if not separator or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"must be module=level, separated by commas; {pair[:80]!r} is not")
        if level.upper() not in LEVELS:
            raise ValueError(f"the level of {name[:80]} must be one of {', '.join(LEVELS)}")
        if name in levels:
            raise ValueError(f"names {name[:80]} twice")
        levels[name] = logging.getLevelNamesMapping()[level.upper()]
        floor = floor_of(name)
        if levels[name] < floor:
            lowest = logging.getLevelName(floor)
            raise ValueError(
                f"{name[:80]} cannot be logged below {lowest}: its lines would quote what users write"
            )
    return levels


def floor_of(name: str) -> int:
    """The lowest level of a logger: its own floor, or that of the library above it; 0 without one."""
    parts = name.split(".")
    return max((FLOORS.get(".".join(parts[:end]), 0) for end in range(1, len(parts) + 1)), default=0)
