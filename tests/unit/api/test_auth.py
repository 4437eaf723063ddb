"""Keys, remembered for a short while."""

import asyncio
import uuid
from datetime import timedelta

import pytest

from api.auth import KeyCache
from shared.keys.principal import Principal

ANN = Principal(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), "ann@example.com")


class Keys(KeyCache):
    """A cache over a dict instead of a database; it counts how often it looks there."""

    def __init__(self, *, ttl=60.0, size=10):
        super().__init__(None, ttl=timedelta(seconds=ttl), size=size)
        self.stored = {"good": ANN}
        self.looked_up = []

    def _look_up(self, secret):
        self.looked_up.append(secret)
        return self.stored.get(secret)


async def test_a_key_is_looked_up_once():
    keys = Keys()
    assert [await keys.find("good") for _ in range(3)] == [ANN] * 3
    assert [await keys.find("bad") for _ in range(3)] == [None] * 3
    assert keys.looked_up == ["good", "bad"]


async def test_what_is_too_old_is_forgotten():
    keys = Keys(ttl=1e-9)
    assert await keys.find("good") is ANN
    keys.stored.clear()
    assert await keys.find("good") is None
    keys.stored["bad"] = ANN
    assert await keys.find("bad") is ANN


async def test_a_refusal_is_remembered_for_less_time_than_a_key():
    keys = Keys(ttl=1000)
    await keys.find("good")
    await keys.find("bad")
    (good, _), (bad, _) = keys._known.values()
    assert good - bad == pytest.approx(999, abs=1)


async def test_any_number_of_wrong_keys_takes_little_memory():
    keys = Keys(size=10)
    for number in range(100):
        await keys.find(f"wrong {number}")
    assert len(keys) == 10


async def test_a_key_that_comes_many_times_at_once_is_looked_up_once():
    keys = Keys()
    assert await asyncio.gather(*(keys.find("good") for _ in range(50))) == [ANN] * 50
    assert keys.looked_up == ["good"]


async def test_no_secret_is_kept():
    keys = Keys()
    await keys.find("good")
    assert "good" not in repr(keys._known)
