"""What the id of an event says of its time."""

import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.ids import day_of_event_id, new_event_id


def test_an_id_is_of_version_7_and_says_when_it_was_made():
    before = time.time_ns() // 1_000_000
    ids = [new_event_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert all(before <= one.int >> 80 <= after for one in ids)
    days = {datetime.fromtimestamp(at / 1000, UTC).date() for at in (before, after)}
    assert {day_of_event_id(one) for one in ids} <= days


@pytest.mark.parametrize(
    "given_id",
    [
        uuid.uuid4(),
        uuid.uuid5(uuid.NAMESPACE_DNS, "named"),
        uuid.UUID(int=0),
        uuid.UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"),  # of a year that no date has
    ],
)
def test_another_id_says_nothing(given_id):
    assert day_of_event_id(given_id) is None


@given(st.uuids(version=None))
def test_any_id_of_a_caller_can_be_asked(given_id):
    day_of_event_id(given_id)
