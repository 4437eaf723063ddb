"""Heartbeats: one timer for all streams."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

from api.streaming import heartbeats
from api.streaming.heartbeats import Heartbeats

PATIENCE = 60  # seconds


class Stream:
    """Counts its heartbeats."""

    def __init__(self):
        self.beats = 0
        self.has_beaten = asyncio.Event()

    def beat(self):
        self.beats += 1
        self.has_beaten.set()


async def test_many_streams_have_one_timer_and_beat_in_portions(monkeypatch):
    ticks = []
    tick = Heartbeats._tick

    def counted(self):
        before = sum(stream.beats for stream in streams)
        tick(self)
        ticks.append(sum(stream.beats for stream in streams) - before)

    monkeypatch.setattr(Heartbeats, "_tick", counted)
    beats, streams = Heartbeats(interval=timedelta(seconds=0.1)), [Stream() for _ in range(1280)]
    with ExitStack() as open_streams:
        for stream in streams:
            open_streams.enter_context(beats.of(stream))
        async with asyncio.timeout(PATIENCE):
            for stream in streams:
                await stream.has_beaten.wait()
    assert max(ticks) <= heartbeats.FREELY_BEATEN + 2 * len(streams) // heartbeats.TICKS
    assert not beats._silent_since


async def test_a_stream_on_which_something_was_sent_waits_for_another_interval():
    beats, spoken, silent = Heartbeats(interval=timedelta(hours=1)), Stream(), Stream()
    with beats.of(spoken), beats.of(silent):
        beats._silent_since = dict.fromkeys([spoken, silent], float("-inf"))
        beats.note(spoken)
        beats._tick()
        assert (silent.beats, spoken.beats) == (1, 0)
