"""The observer: gauges that are what the database holds, from one of several reconcilers."""

import time
from datetime import timedelta

import pytest
import redis
from sqlalchemy import func, select, update

from shared.celery_app import make_celery
from shared.db import make_engine, unit_of_work
from shared.dispatch.dispatcher import Dispatcher
from shared.lifecycle import RunKind, RunStatus
from shared.models import ProcessKind, Run
from shared.models.base import Base
from shared.processes import beats
from worker.reconciler import observer as observing
from worker.reconciler.observer import Observer

NAME = "host/2"


@pytest.fixture
def setting_overrides():
    return {"structure_queue": "structures"}


@pytest.fixture
def sender(committed_settings):
    with make_celery(committed_settings) as celery:
        made = Dispatcher.make(committed_settings, celery)
        yield made
        made.close()


@pytest.fixture
def observer(committed_settings, committed_engine, sender):
    return Observer(committed_settings, committed_engine, sender, name=NAME)


def seen(observer):
    """The last look, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in observer.collect()
        for sample in family.samples
    }


def age(session, run, by):
    """Let a run have been queued and sent long ago."""
    then = func.now() - by
    session.execute(update(Run).where(Run.id == run.id).values(queued_at=then, dispatched_at=then))


def test_the_gauges_are_what_the_database_holds(committed_sessions, observer, make_run):
    runs = [make_run(status=status) for status in (RunStatus.QUEUED, RunStatus.QUEUED, RunStatus.RUNNING)]
    make_run(status=RunStatus.SUCCEEDED)
    with unit_of_work(committed_sessions) as session:
        age(session, runs[0], timedelta(hours=1))
        beats.beat(session, NAME, ProcessKind.RECONCILER)
        beats.beat(session, "worker@a", ProcessKind.WORKER)
        beats.beat(session, "worker@b", ProcessKind.WORKER)
    observer.look()
    found = seen(observer)
    with committed_sessions() as session:
        by_status = dict(session.execute(select(Run.status, func.count()).group_by(Run.status)).all())
    assert {status: found.get(("runyard_runs", status), 0) for status in by_status} == by_status
    assert found["runyard_queue_runs", "runs"] == 2
    assert found["runyard_queue_runs", "structures"] == 0
    assert 3600 <= found["runyard_queue_oldest_seconds", "runs"] < 3900
    assert found["runyard_queue_oldest_seconds", "structures"] == 0
    assert found["runyard_processes", ProcessKind.WORKER] == 2
    assert found["runyard_stuck_runs", "lost"] == 0
    assert found["runyard_database_up",] == found["runyard_redis_up",] == 1
    assert {key[1] for key in found if key[0] == "runyard_table_bytes"} == set(Base.metadata.tables)
    assert found["runyard_database_bytes",] > found["runyard_table_bytes", "runs"] > 0


def test_a_run_that_waits_for_its_tenants_share_wants_no_worker(
    committed_settings, committed_engine, committed_sessions, sender, make_run
):
    limited = committed_settings.model_copy(update={"running_share": 1})
    observer = Observer(limited, committed_engine, sender, name=NAME)
    held_back, sent = make_run(), make_run()
    with unit_of_work(committed_sessions) as session:
        age(session, held_back, timedelta(hours=1))
        age(session, sent, timedelta(minutes=1))
        session.execute(update(Run).where(Run.id == held_back.id).values(dispatched_at=None))
    observer.look()
    found = seen(observer)
    assert found["runyard_queue_runs", "runs"] == 1
    assert 60 <= found["runyard_queue_oldest_seconds", "runs"] < 3600
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == sent.id).values(dispatched_at=None))
    observer.look()
    found = seen(observer)
    assert found["runyard_queue_runs", "runs"] == found["runyard_queue_oldest_seconds", "runs"] == 0


def test_a_run_wants_a_worker_since_it_was_sent_and_not_since_it_was_held_back(
    committed_sessions, observer, make_run
):
    run = make_run()
    with unit_of_work(committed_sessions) as session:
        age(session, run, timedelta(hours=1))
        session.execute(update(Run).where(Run.id == run.id).values(dispatched_at=func.now()))
    observer.look()
    assert seen(observer)["runyard_queue_oldest_seconds", "runs"] < 3600
    with unit_of_work(committed_sessions) as session:  # a message that is sent again is no new beginning
        session.execute(update(Run).where(Run.id == run.id).values(dispatch_count=1))
    observer.look()
    assert seen(observer)["runyard_queue_oldest_seconds", "runs"] >= 3600


def test_the_oldest_run_of_a_queue_for_both_kinds_is_that_of_either_kind(
    committed_settings, committed_engine, committed_sessions, sender, make_run, factories
):
    joined = committed_settings.model_copy(update={"structure_queue": committed_settings.run_queue})
    observer = Observer(joined, committed_engine, sender, name=NAME)
    make_run()
    structure_run = factories.structure_run()
    with unit_of_work(committed_sessions) as session:
        age(session, structure_run, timedelta(hours=1))
    observer.look()
    found = seen(observer)
    assert found["runyard_queue_runs", "runs"] == 2
    assert found["runyard_queue_oldest_seconds", "runs"] >= 3600


def test_a_run_whose_worker_is_gone_is_stuck_until_it_is_repaired(
    committed_settings, committed_engine, committed_sessions, sender, make_run
):
    brief = committed_settings.model_copy(update={"lease_ttl": timedelta(milliseconds=1)})
    observer = Observer(brief, committed_engine, sender, name=NAME)
    run = make_run(status=RunStatus.RUNNING)
    with unit_of_work(committed_sessions) as session:
        lapsed = func.now() - timedelta(minutes=5)
        session.execute(update(Run).where(Run.id == run.id).values(lease_expires_at=lapsed))
    observer.look()
    assert seen(observer)["runyard_stuck_runs", "lost"] == 1


def test_messages_that_nobody_takes_are_counted(observer, sender, make_run):
    run = make_run()
    sender.send(run.id, attempt=1)
    sender.send(run.id, attempt=1, kind=RunKind.STRUCTURE)
    observer.look()
    found = seen(observer)
    assert found["runyard_broker_messages", "runs"] == 1
    assert found["runyard_broker_messages", "structures"] == 1


def test_one_of_several_reconcilers_looks(committed_sessions, observer):
    with unit_of_work(committed_sessions) as session:
        beats.beat(session, "host/1", ProcessKind.RECONCILER)
        beats.beat(session, NAME, ProcessKind.RECONCILER)
    observer.look()
    assert set(seen(observer)) == {("runyard_database_up",), ("runyard_redis_up",)}
    with unit_of_work(committed_sessions) as session:
        beats.leave(session, "host/1")
    observer.look()
    assert ("runyard_queue_runs", "runs") in seen(observer)


def test_a_database_that_is_away_is_said_and_nothing_old_is_shown(committed_settings, observer, sender):
    observer.look()
    nowhere = committed_settings.model_copy(
        update={"database_url": type(committed_settings.database_url)("postgresql://u:p@127.0.0.1:1/d")}
    )
    engine = make_engine(nowhere, pool_size=1)
    observer._engine = engine
    observer.look()
    engine.dispose()
    assert seen(observer) == {("runyard_database_up",): 0, ("runyard_redis_up",): 1}


def test_a_redis_that_is_away_is_said_beside_what_the_database_holds(observer, monkeypatch):
    def refuse():
        raise redis.ConnectionError("away")

    monkeypatch.setattr(observer._dispatcher, "queue_lengths", refuse)
    observer.look()
    found = seen(observer)
    assert (found["runyard_database_up",], found["runyard_redis_up",]) == (1, 0)
    assert ("runyard_queue_runs", "runs") in found
    assert not [key for key in found if key[0] == "runyard_broker_messages"]


def test_an_observation_that_is_old_is_not_shown(observer, monkeypatch):
    observer.look()
    now = time.monotonic()
    monkeypatch.setattr(observing.time, "monotonic", lambda: now + observing.STALE_AFTER + 1)
    assert seen(observer) == {("runyard_database_up",): 0, ("runyard_redis_up",): 0}
