"""How large the bench's bursts are, and what its readers make of frames."""

import json

import pytest

from bench.load import Reading
from bench.scenarios.bursts import BURST, burst_size
from bench.scenarios.streaming import lags_of


@pytest.mark.parametrize(("rate", "runs"), [(1, BURST[0]), (100, 250), (10_000, BURST[1])])
def test_a_burst_lasts_as_long_as_asked_within_its_bounds(rate: float, runs: int):
    assert burst_size(rate, 2.5) == runs


def test_lags_count_from_each_emission_after_the_join():
    def frame(**payload: object) -> bytes:
        return json.dumps({"type": "x", "payload": payload}).encode()

    reading = Reading(keeps=True)
    reading.frames = [
        (10.5, frame(token="10.0 10.25 ")),  # two words, joined
        (12.0, frame(sent_at=11.0)),
        (12.0, frame(sent_at=9.0)),  # before the join
        (12.5, frame(status="SUCCEEDED")),
    ]
    assert lags_of(reading, since=9.5) == [500, 250, 1000]
