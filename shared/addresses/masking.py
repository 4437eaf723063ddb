"""Addresses as they may be shown: without passwords."""

import re
from typing import Final
from urllib.parse import urlsplit

MASK: Final = "********"

_IS_WEB: Final = frozenset({"http", "https"})
_IS_SECRET: Final = re.compile(r"pass|secret|token|key|auth|credential", re.IGNORECASE)


def masked(address: str) -> str:
    """Return an address without what may be secret; the mask alone if its form is not clear.

    Passwords are masked before the host and among the parameters. Users of web addresses are masked, too:
    they may be tokens.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return MASK
    # A password with an unescaped delimiter ends the host too early.
    if "://" not in address or "@" in f"{parts.path}{parts.query}" or parts.fragment:
        return MASK
    before, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = before.partition(":")
    if parts.scheme in _IS_WEB and before:
        before = MASK
    elif colon and password:
        before = f"{user}:{MASK}"
    query = "&".join(map(_masked_parameter, parts.query.split("&")))
    shown = f"{parts.scheme}://{before}{at}{hosts}{parts.path}"
    return f"{shown}?{query}" if query else shown


def _masked_parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={MASK}" if equals and value and _IS_SECRET.search(name) else pair
