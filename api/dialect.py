"""Dialects: each is a value, and one application serves several side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Problem, Render
from api.middleware import BodyRule
from shared.settings import Settings

ROOT: Final = ""
"""The prefix of the dialect that serves every path no other dialect has."""

BodyRuleOf = Callable[[str], BodyRule]
"""Returns the size limit of a path's bodies."""


def same_body_rule(settings: Settings) -> BodyRuleOf:
    """Limit every body to `max_body_bytes`."""
    rule = BodyRule(settings.max_body_bytes)
    return lambda _path: rule


def always(_settings: Settings) -> bool:
    """Serve a dialect whatever the settings say."""
    return True


@dataclass(frozen=True, slots=True)
class Dialect:
    """One HTTP API for the resources of this server: its paths, its routes and its error shape.

    Each has its own OpenAPI document, with `/openapi.json`, `/docs` and `/redoc` below every prefix.
    Keys, limits, the access log and CORS belong to the server and are the same for every dialect.
    """

    name: str  # also the title of the OpenAPI document
    description: str
    """What callers have to know first, in Markdown: how to send the key, what errors look like."""

    prefixes: tuple[str, ...]
    """The paths below which it is served, such as `/v1`; `ROOT` for one dialect."""

    render: Render
    """Makes the response to an error; also to errors before routing: 404, 408, 413, 503."""

    install: Callable[[FastAPI], None]
    """Adds its routes, without the prefix. Their routers have `route_class=KeyedRoute`."""

    body_rules: Callable[[Settings], BodyRuleOf] = same_body_rule
    """The size limits of its bodies, by the whole path."""

    home: str = ""
    """The path below a prefix that a request for the prefix itself is sent to; empty for a 404."""

    is_documented: bool = True
    """Whether it has an OpenAPI document."""

    is_served: Callable[[Settings], bool] = always
    """Whether the operator wants it."""


class Dialects:
    """The dialects of one application; finds the one that a path belongs to."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        """Sort the dialects by their prefixes, the longest first.

        Raises:
            ValueError: two have the same prefix, or none has the prefix `ROOT`.
        """
        by_prefix: dict[str, Dialect] = {}
        for dialect in dialects:
            for prefix in dialect.prefixes:
                if prefix in by_prefix:
                    names = f"{by_prefix[prefix].name!r} and {dialect.name!r}"
                    raise ValueError(f"The dialects {names} have the same prefix {prefix!r}.")
                by_prefix[prefix] = dialect
        self.by_prefix = dict(sorted(by_prefix.items(), key=lambda item: len(item[0]), reverse=True))
        if ROOT not in self.by_prefix:
            raise ValueError("No dialect has the prefix `ROOT`.")
        self.root = self.by_prefix.pop(ROOT)
        self.mounted = [dialect for dialect in dialects if dialect is not self.root]

    def served_by(self, settings: Settings) -> "Dialects":
        """Return the dialects that the settings want."""
        return Dialects([dialect for dialect in self if dialect.is_served(settings)])

    def __iter__(self) -> Iterator[Dialect]:
        return iter((self.root, *self.mounted))

    def of(self, path: str) -> Dialect:
        """Return the dialect of a path, which is the one with the longest matching prefix."""
        matching = (one for prefix, one in self.by_prefix.items() if f"{path}/".startswith(f"{prefix}/"))
        return next(matching, self.root)

    def render_of(self, path: str) -> Render:
        """Return the error shape of a path."""
        return self.of(path).render

    def render(self, problem: Problem) -> ASGIApp:
        """Make an application that answers with an error, in the dialect of the requested path."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self.render_of(scope["path"])(problem)(scope, receive, send)

        return answer

    def body_rules(self, settings: Settings) -> BodyRuleOf:
        """Return the size limit of each path's bodies, in every dialect."""
        rules = {dialect: dialect.body_rules(settings) for dialect in self}
        return lambda path: rules[self.of(path)](path)
