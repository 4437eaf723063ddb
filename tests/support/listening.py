"""Listening to an engine that other threads use already."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event


def listen(engine: Engine, name: str, listener: Callable[..., Any]) -> None:
    """Have a listener called from now on, as `sqlalchemy.event.listen` does.

    The library makes the place of an event's listeners when it is first looked for, and takes no lock: a
    thread that begins a statement just then could put an empty place over that of the listener. So the place
    is made before anybody has a reason to look for it.
    """
    getattr(engine.dispatch, name)
    event.listen(engine, name, listener)
