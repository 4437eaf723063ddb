import time

import pytest

from tests.support.waiting import LONGEST_PAUSE, wait_until


def test_the_first_true_answer_is_returned():
    answers = iter([0, "", 7])
    assert wait_until(lambda: next(answers)) == 7


def test_whoever_waits_for_long_asks_seldom():
    asked = []
    with pytest.raises(TimeoutError, match=r"Not within 1 s: the end"):
        wait_until(lambda: asked.append(1), timeout=1, what="the end")
    assert len(asked) < 50, "half of what it was with pauses of a hundredth of a second"


def test_whoever_takes_long_to_ask_pauses_as_long():
    asked = []

    def ask():
        time.sleep(LONGEST_PAUSE)
        asked.append(1)

    with pytest.raises(TimeoutError):
        wait_until(ask, timeout=1)
    assert len(asked) <= 3
