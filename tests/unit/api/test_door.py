"""How many connections there may be, and of whom."""

import pytest

from api.door import Door
from shared.settings import Settings

PROXY = "10.0.0.1"


class Connection:
    has_request = False

    def abort(self):
        raise AssertionError


@pytest.fixture
def door():
    limits = {"max_connections": 4, "max_address_connections": 1}
    servers = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    return Door(Settings(**servers, **limits, trusted_proxies=PROXY), lambda _path: None)


def test_a_trusted_proxy_has_the_connections_of_all_whom_it_stands_for(door):
    assert [door.enter(Connection(), "192.0.2.1") for _ in range(2)] == [True, False]
    assert [door.enter(Connection(), PROXY) for _ in range(4)] == [True, True, True, False]


def test_what_leaves_makes_room(door):
    first = Connection()
    assert door.enter(first, "192.0.2.1")
    door.leave(first)
    assert door.enter(Connection(), "192.0.2.1")
