"""How many connections there may be, and of whom."""

import pytest

from api.traffic.connection_limiter import ConnectionLimiter
from shared.settings import Settings

PROXY = "10.0.0.1"


class Connection:
    has_request = False

    def abort(self):
        raise AssertionError


@pytest.fixture
def limiter():
    limits = {"max_connections": 4, "max_address_connections": 1}
    servers = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    return ConnectionLimiter(Settings(**servers, **limits, trusted_proxies=PROXY), lambda _path: None)


def test_a_trusted_proxy_has_the_connections_of_all_whom_it_stands_for(limiter):
    assert [limiter.enter(Connection(), "192.0.2.1") for _ in range(2)] == [True, False]
    assert [limiter.enter(Connection(), PROXY) for _ in range(4)] == [True, True, True, False]


def test_what_leaves_makes_room(limiter):
    first = Connection()
    assert limiter.enter(first, "192.0.2.1")
    limiter.leave(first)
    assert limiter.enter(Connection(), "192.0.2.1")
