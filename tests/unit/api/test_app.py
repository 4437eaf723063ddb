"""What making an application costs."""

from fastapi import routing

from api.app import create_app
from shared.settings import Settings


def test_an_application_analyses_no_endpoint_that_another_has_analysed(monkeypatch):
    """The tests make more than a thousand, and one took a third of a second of CPU."""
    settings = Settings(database_url="postgresql://h/d", redis_url="redis://h")
    create_app(settings)

    def analyse(*_args, **_options):
        raise AssertionError("an endpoint is analysed anew")

    monkeypatch.setattr(routing, "get_dependant", analyse)
    create_app(settings)
