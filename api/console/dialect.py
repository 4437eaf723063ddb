"""The console as one value beside the dialects, below `/console`."""

from typing import Final

from fastapi import FastAPI

from api.console import assistants, keys, overview, retention, run, runs, signing_in, structures, threads
from api.console.pages import PREFIX, Framed, render, show_file
from api.dialect import BodyRuleOf, Dialect
from api.middleware import BodyRule
from shared.settings import Settings

RESOURCES: Final = (signing_in, overview, runs, run, assistants, threads, structures, keys, retention)


def _install(app: FastAPI) -> None:
    app.add_route("/static/{name}", show_file, include_in_schema=False)
    for resource in RESOURCES:
        app.include_router(resource.router, include_in_schema=False)
    app.add_middleware(Framed)


def _body_rules(settings: Settings) -> BodyRuleOf:
    ordinary, stranger = BodyRule(settings.max_body_bytes), BodyRule(signing_in.MAX_BODY)
    return lambda path: stranger if path == PREFIX + signing_in.SIGN_IN else ordinary


def _is_served(settings: Settings) -> bool:
    return settings.console == "on"


CONSOLE: Final = Dialect(
    name="Runyard: console",
    description="Pages for people.",
    prefixes=(PREFIX,),
    render=render,
    install=_install,
    body_rules=_body_rules,
    home=signing_in.HOME,
    is_documented=False,
    is_served=_is_served,
)
