"""How often an address may be wrong."""

import uuid
from datetime import timedelta

import pytest

from api.auth import KeyCache
from api.traffic.refusal_limiter import ADDRESSES, RefusalLimiter, subscriber
from shared.errors import TooManyRefusalsError
from shared.keys.principal import Principal

ANN = Principal(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), "ann@example.com")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refusals(clock):
    return RefusalLimiter(2, clock=clock)


def wrong_as_often_as_it_may(refusals, address):
    count = 0
    while refusals.may_try(address):
        refusals.note(address)
        count += 1
    return count


def test_an_address_may_be_wrong_in_a_burst_and_then_at_a_rate(refusals, clock):
    assert wrong_as_often_as_it_may(refusals, "10.0.0.1") == 20
    clock.now += 3
    assert wrong_as_often_as_it_may(refusals, "10.0.0.1") == 6
    clock.now += 3600
    assert wrong_as_often_as_it_may(refusals, "10.0.0.1") == 20


def test_what_one_address_did_is_not_held_against_another(refusals):
    wrong_as_often_as_it_may(refusals, "10.0.0.1")
    assert refusals.may_try("10.0.0.2")


def test_any_number_of_addresses_takes_little_memory(refusals):
    for number in range(2 * ADDRESSES):
        refusals.note(f"10.1.{number // 256}.{number % 256}")
    assert len(refusals) == ADDRESSES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("", ""),
    ],
)
def test_addresses_of_one_subscriber_count_together(one, other):
    assert subscriber(one) == subscriber(other)


def test_addresses_of_two_subscribers_count_apart():
    assert len({subscriber(one) for one in ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1")}) == 4


class Keys(KeyCache):
    """A cache over a dict instead of a database; it counts how often it looks there."""

    def __init__(self):
        super().__init__(None, ttl=timedelta(microseconds=1), refusals=1)
        self.stored = {"good": ANN}
        self.looked_up = 0

    def _look_up(self, secret):
        self.looked_up += 1
        return self.stored.get(secret)


async def test_an_address_that_tries_keys_reaches_the_database_no_more_and_its_good_ones_still_do():
    keys = Keys()
    assert await keys.find("good", address="10.0.0.1") is ANN
    refused = 0
    for number in range(1000):
        try:
            assert await keys.find(f"wrong {number}", address="10.0.0.1") is None
        except TooManyRefusalsError:
            refused += 1
    assert refused > 980
    assert keys.looked_up < 20
    assert await keys.find("good", address="10.0.0.1") is ANN
    with pytest.raises(TooManyRefusalsError):
        await keys.find("new", address="10.0.0.1")
    assert await keys.find("new", address="10.0.0.2") is None
