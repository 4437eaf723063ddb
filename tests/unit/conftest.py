"""A Redis in this process, for tests that need what its commands mean and neither delivery nor timing."""

from collections.abc import Generator

import fakeredis
import pytest
import redis


@pytest.fixture
def fake_redis() -> Generator[redis.Redis]:
    """An empty Redis of the test's own."""
    with fakeredis.FakeRedis() as client:
        yield client
