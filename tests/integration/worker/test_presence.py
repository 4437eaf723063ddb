"""What processes say of themselves in PostgreSQL: while they go on, and when they end."""

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shared.models import ProcessBeat, ProcessKind
from tests.support.waiting import wait_until
from worker.presence import Presence
from worker.reconciler import Reconciler


@pytest.fixture
def present(committed_sessions):
    """The processes that have said that they are there."""

    def present():
        with committed_sessions() as session:
            return dict(session.execute(select(ProcessBeat.name, ProcessBeat.kind)).all())

    return present


def test_a_worker_is_there_until_it_ends_in_good_order(committed_sessions, present):
    presence = Presence("one@host", lambda: committed_sessions, pause=0.05)
    presence.start()
    wait_until(lambda: present() == {"one@host": ProcessKind.WORKER}, timeout=10, what="a beat")
    presence.close()
    wait_until(lambda: present() == {}, timeout=10, what="the worker to leave")


def test_a_database_that_refuses_does_not_end_a_presence(committed_sessions, present):
    refusals = iter([OperationalError("BEGIN", {}, Exception("away"))] * 3)

    def sessions():
        for refusal in refusals:
            raise refusal
        return committed_sessions

    presence = Presence("one@host", sessions, pause=0.05)
    presence.start()
    wait_until(lambda: present() == {"one@host": ProcessKind.WORKER}, timeout=10, what="a beat")
    presence.close()


def test_a_reconciler_is_there_from_its_first_round_to_its_last(
    committed_settings, committed_sessions, dispatcher, present
):
    stop = threading.Event()
    reconciler = Reconciler(committed_settings, committed_sessions, dispatcher)
    rounds = threading.Thread(target=reconciler.run, args=(stop,))
    rounds.start()
    try:
        wait_until(lambda: list(present().values()) == [ProcessKind.RECONCILER], timeout=20, what="a beat")
    finally:
        stop.set()
        rounds.join(20)
    assert present() == {}
