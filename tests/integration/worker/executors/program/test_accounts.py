"""User ids of programs: a program without a free one waits."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.sandboxes import claim_uids
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.program import accounts
from worker.executors.program.accounts import lent_account


@pytest.fixture
def first():
    return claim_uids()


@pytest.fixture
def searches(monkeypatch):
    """The searches for a free user id."""
    made = []
    search = accounts._free_account

    def counted(*args):
        made.append(args)
        return search(*args)

    monkeypatch.setattr(accounts, "_free_account", counted)
    monkeypatch.setattr(accounts, "WAIT_INTERVAL", 0.01)
    return made


def lend(first, token):
    with lent_account(first, 1, token) as account:
        return account.uid


def test_a_program_gets_the_user_id_of_one_that_has_ended(first, searches):
    with ThreadPoolExecutor(1) as pool:
        with lent_account(first, 1, CancelToken()) as taken:
            waiting = pool.submit(lend, first, CancelToken())
            wait_until(lambda: len(searches) > 3, what="some searches")
            assert not waiting.done()
        assert waiting.result(60) == taken.uid == first


def test_programs_that_wait_are_stopped_at_once(first, searches):
    """Both the one that searches and the one behind it."""
    tokens = [CancelToken(), CancelToken()]
    with ThreadPoolExecutor(2) as pool, lent_account(first, 1, CancelToken()):
        waiting = [pool.submit(lend, first, token) for token in tokens]
        wait_until(lambda: len(searches) > 3, what="some searches")
        for token, one in zip(reversed(tokens), reversed(waiting), strict=True):
            token.cancel(StopReason.CANCELLED)
            assert isinstance(one.exception(60), RunStopped)
