"""Whose word is taken for where a request comes from."""

import pytest

from api.traffic.callers import Callers, Proxies
from shared.addresses.web import parse_network

STRANGER = "203.0.113.7"
PROXY, INNER = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def proxies():
    return Proxies([parse_network(PROXY), parse_network(INNER), parse_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        (STRANGER, ["198.51.100.1"], STRANGER),  # no proxy of ours
        (PROXY, [], PROXY),
        (PROXY, [STRANGER], STRANGER),
        (PROXY, [f"198.51.100.1, {STRANGER}"], STRANGER),  # the first is what the stranger says
        (PROXY, ["198.51.100.1", STRANGER], STRANGER),
        (PROXY, [f"{STRANGER}, {INNER}"], STRANGER),
        (PROXY, [INNER], INNER),
        (PROXY, [f"{STRANGER}:4711"], STRANGER),
        (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ["2001:db8::1"], "2001:db8::1"),
        (PROXY, [f"{STRANGER}, unknown"], PROXY),
        (PROXY, ["", " , "], PROXY),
        (f"::ffff:{PROXY}", [STRANGER], STRANGER),
        ("fd00::1", [STRANGER], STRANGER),
    ],
)
def test_the_caller_is_the_last_address_that_no_trusted_proxy_has(proxies, peer, forwarded, caller):
    assert proxies.caller(peer, forwarded) == caller


def test_by_default_nobody_is_believed():
    assert Proxies([]).caller(PROXY, [STRANGER]) == PROXY
    assert not Proxies([]).has(PROXY)


async def test_a_request_has_the_address_of_its_caller(proxies):
    seen = []

    async def app(scope, _receive, _send):
        seen.append(scope["client"])

    callers = Callers(app, proxies=proxies)
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", STRANGER.encode())]
    for client in ((PROXY, 1234), ("198.51.100.9", 1234), None):
        await callers({"type": "http", "client": client, "headers": headers}, None, None)
    assert seen == [(STRANGER, 0), ("198.51.100.9", 1234), None]
