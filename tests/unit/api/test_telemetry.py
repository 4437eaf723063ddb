"""What the web framework itself would tell of requests."""

import pytest
from fastapi import FastAPI
from fastapi.telemetry import _asgi
from starlette.routing import Mount

from api.app import create_app
from shared.settings import Settings


def test_no_request_is_told_of_beside_our_own_traces_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asgi, "_unconfigured", lambda _provider: False)  # as if all providers were there
    settings = Settings(database_url="postgresql://db/runyard", redis_url="redis://redis")
    app = create_app(settings)
    mounted = [route.app for route in app.routes if isinstance(route, Mount)]
    served = [app, *(one for one in mounted if isinstance(one, FastAPI))]
    assert len(served) > 1
    assert FastAPI()._native_telemetry.enabled()
    assert [one for one in served if one._native_telemetry.enabled()] == []
