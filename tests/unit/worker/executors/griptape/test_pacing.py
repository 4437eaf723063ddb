"""How fast a process asks a provider."""

import time

import pytest

from worker.executors.griptape.pacing import Pace, pace_of


def test_nobody_waits_for_a_provider_that_has_not_complained() -> None:
    pace = Pace()

    assert [pace.turn() for _ in range(100)] == [0.0] * 100


def test_turns_are_apart_once_it_has_complained() -> None:
    pace = Pace()
    pace.refused(time.monotonic())

    waits = [pace.turn() for _ in range(10)]

    assert waits[0] == pytest.approx(0.05)
    assert waits[0] < waits[-1] <= 10 * 0.05 + 0.001


def test_requests_that_were_sent_together_slow_it_down_once() -> None:
    together, once = Pace(), Pace()
    sent_at = time.monotonic()
    once.refused(sent_at)
    for _ in range(50):
        together.refused(sent_at)

    assert together.turn() == pytest.approx(once.turn(), abs=0.02)


def test_it_is_slower_with_each_complaint_but_not_without_bound() -> None:
    pace = Pace()
    pace.refused(time.monotonic())
    first = pace.turn()
    for _ in range(50):
        pace.refused(time.monotonic())

    pace.turn()
    before = pace.turn()
    assert first < pace.turn() - before <= 0.51


def test_answers_make_it_faster_again() -> None:
    pace = Pace()
    pace.refused(time.monotonic())
    for _ in range(20):
        pace.answered()

    assert pace.turn() == 0.0


def test_a_pace_is_of_one_provider_at_one_address() -> None:
    assert pace_of("openai", "http://a") is pace_of("openai", "http://a")
    assert pace_of("openai", "http://a") is not pace_of("openai", "http://b")
    assert pace_of("openai", "http://a") is not pace_of("anthropic", "http://a")
