"""How the connections of a process are divided."""

import pytest

from api.traffic.lanes import KEY_LOOKUPS, UPKEEP, Lanes, connections_for_tenants
from shared.contradictions import LEAST_API_POOL
from shared.settings import Settings


@pytest.mark.parametrize("pool", [*range(LEAST_API_POOL, 40), 100, 1000])
@pytest.mark.parametrize("share", [0.01, 1.0])
async def test_every_lane_has_a_place_and_every_place_a_connection(pool, share):
    settings = Settings(
        database_url="postgresql://h/d", redis_url="redis://h", database_pool=pool, organization_share=share
    )
    lanes = Lanes.make(settings)
    apart = [lanes.requests, lanes.cancels, lanes.streams]
    for lane in (*apart, lanes.creates, lanes.shared_cancels):
        assert lane.capacity >= 1
        async with lane.admit("a tenant"):
            pass
    assert lanes.together.total_tokens >= 1
    used = sum(lane.capacity for lane in apart) + lanes.together.total_tokens
    assert used <= connections_for_tenants(settings)
    assert connections_for_tenants(settings) + UPKEEP + KEY_LOOKUPS <= pool
