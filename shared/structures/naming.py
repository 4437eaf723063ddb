"""The tool names of structures."""

import re
from typing import Final

LONGEST_NAME: Final = 40  # characters; providers allow 64 for a tool and its activity together


def tool_name(name: str) -> str:
    """The name of a structure's tool, of letters and digits; several structures may share one."""
    base = re.sub(r"[^A-Za-z0-9]", "", name.title())
    return (base if base[:1].isalpha() else f"Structure{base}")[:LONGEST_NAME]
