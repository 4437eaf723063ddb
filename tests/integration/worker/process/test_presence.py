"""What processes say of themselves in PostgreSQL: while they go on, and when they end."""

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shared.models import ProcessBeat, ProcessKind
from shared.processes import beats
from shared.processes.beats import Load
from tests.support.waiting import wait_until
from worker.process.presence import Presence
from worker.reconciler.reconciler import Reconciler


@pytest.fixture
def present(committed_sessions):
    """The processes that have said that they are there."""

    def present():
        with committed_sessions() as session:
            return dict(session.execute(select(ProcessBeat.name, ProcessBeat.kind)).all())

    return present


def test_a_worker_is_there_until_it_ends_in_good_order(committed_sessions, present):
    presence = Presence("one@host", lambda: committed_sessions, interval=0.05)
    presence.start()
    wait_until(lambda: present() == {"one@host": ProcessKind.WORKER}, timeout=60, what="a beat")
    presence.close()
    wait_until(lambda: present() == {}, timeout=60, what="the worker to leave")


def test_a_worker_says_how_many_slots_it_has_as_they_change(committed_sessions):
    loads = iter([None, Load(50, 3)])
    presence = Presence(
        "one@host", lambda: committed_sessions, interval=0.05, load=lambda: next(loads, Load(0, 2))
    )

    def told():
        with committed_sessions() as session:
            return [one.load for one in beats.heard(session, ProcessKind.WORKER, limit=10)]

    presence.start()
    wait_until(lambda: told() == [Load(0, 2)], timeout=60, what="the load of a drain")
    presence.close()


def test_a_database_that_refuses_does_not_end_a_presence(committed_sessions, present):
    refusals = iter([OperationalError("BEGIN", {}, Exception("away"))] * 3)

    def sessions():
        for refusal in refusals:
            raise refusal
        return committed_sessions

    presence = Presence("one@host", sessions, interval=0.05)
    presence.start()
    wait_until(lambda: present() == {"one@host": ProcessKind.WORKER}, timeout=60, what="a beat")
    presence.close()


def test_a_reconciler_is_there_from_its_first_round_to_its_last(
    committed_settings, committed_sessions, dispatcher, present
):
    stop = threading.Event()
    reconciler = Reconciler(committed_settings, committed_sessions, dispatcher)
    rounds = threading.Thread(target=reconciler.run, args=(stop,))
    rounds.start()
    try:
        wait_until(lambda: list(present().values()) == [ProcessKind.RECONCILER], timeout=60, what="a beat")
    finally:
        stop.set()
        rounds.join(20)
    assert present() == {}
