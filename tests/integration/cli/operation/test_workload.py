"""`runyard queues`, `workers` and `top`: what PostgreSQL says, beside what Redis says or does not say."""

import io
import json
from datetime import timedelta

import pytest
from rich.console import Console
from sqlalchemy import text, update
from typer.testing import CliRunner

from cli import main
from cli.commands.top import Frame, drawn, look
from cli.operation import workload
from cli.operation.broker import Answer, BrokerView, look_at_broker
from cli.operation.reading import reader
from cli.operation.workload import Sample, WorkerState
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import ProcessBeat, ProcessKind, Run
from shared.processes import beats
from shared.settings import Settings
from tests.support.factories import WORKER

AWAY = BrokerView(fault="Redis: Connection refused")
WORKING = BrokerView(
    {"runs": 2, "gpu": 1}, {WORKER: Answer(("gpu", "runs"), 50), "other": Answer(("runs",), 8)}
)


@pytest.fixture
def queues(sessions, settings):
    def queues(broker, **changed):
        with sessions() as session:
            found = workload.read_queues(session, settings.model_copy(update=changed), broker)
        return {queue.name: queue for queue in found}

    return queues


def test_a_queue_tells_who_waits_and_for_how_long(queues, sessions, make_run, factories):
    old, _ = make_run(new_thread=True), make_run()
    waits = make_run(thread_id=old.thread_id)
    assert waits.waits_for_thread
    factories.structure_run()
    make_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        session.execute(
            update(Run).where(Run.id == old.id).values(queued_at=Run.queued_at - timedelta(minutes=5))
        )
    found = queues(WORKING, structure_queue="programs")
    runs, programs, gpu = found["runs"], found["programs"], found["gpu"]
    assert (runs.waiting, runs.oldest_seconds, runs.messages, runs.workers) == (2, 300, 2, 2)
    assert (programs.waiting, programs.oldest_seconds, programs.messages, programs.workers) == (1, 0, 0, 0)
    assert (gpu.waiting, gpu.oldest_seconds, gpu.messages, gpu.workers) == (0, None, 1, 1)


def test_kinds_that_share_a_queue_are_counted_together(queues, make_run, factories):
    make_run()
    factories.structure_run()
    assert {name: queue.waiting for name, queue in queues(WORKING).items()} == {"runs": 2, "gpu": 0}


def test_runs_beyond_a_share_do_not_count_as_waiting(queues, sessions, make_run):
    make_run()
    held_back = make_run()
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id == held_back.id).values(dispatched_at=None))
    runs = queues(WORKING, running_share=1)["runs"]
    assert (runs.waiting, runs.held_back) == (1, 1)


def test_without_redis_a_queue_is_shown_as_far_as_it_is_known(queues, make_run):
    make_run()
    (queue,) = queues(AWAY).values()
    assert (queue.waiting, queue.messages, queue.workers) == (1, None, None)


def test_a_worker_tells_its_state_its_runs_and_its_slots(sessions, settings, make_run):
    make_run(status=RunStatus.RUNNING)
    make_run(status=RunStatus.STARTING)
    make_run(status=RunStatus.SUCCEEDED)
    with unit_of_work(sessions) as session:
        for name in (WORKER, "deaf", "dead"):
            beats.beat(session, name, ProcessKind.WORKER)
        beats.beat(session, "reconciler", ProcessKind.RECONCILER)
        long_ago = ProcessBeat.beat_at - timedelta(minutes=10)
        session.execute(update(ProcessBeat).where(ProcessBeat.name == "dead").values(beat_at=long_ago))
    with sessions() as session:
        found = {worker.name: worker for worker in workload.read_workers(session, settings, WORKING)}
        without = {worker.name: worker.state for worker in workload.read_workers(session, settings, AWAY)}
        beating = workload.beating_workers(session, settings)
    states = {name: worker.state for name, worker in found.items()}
    assert states == {
        WORKER: WorkerState.OK,
        "other": WorkerState.OK,  # the parent of a prefork pool does not beat
        "deaf": WorkerState.UNREACHED,
        "dead": WorkerState.SILENT,
    }
    assert (found[WORKER].busy, found[WORKER].slots, found[WORKER].queues) == (2, 50, ("gpu", "runs"))
    assert (found["other"].busy, found["other"].slots, found["other"].beat_seconds) == (0, 8, None)
    assert without == {WORKER: WorkerState.UNKNOWN, "deaf": WorkerState.UNKNOWN, "dead": WorkerState.SILENT}
    assert beating == ["deaf", WORKER]


def test_unfinished_and_new_runs_are_counted(sessions, make_run, factories):
    for status in RunStatus:
        make_run(status=status)
    factories.structure_run()
    old = make_run()
    with unit_of_work(sessions) as session:
        before = Run.created_at - timedelta(seconds=61)
        session.execute(update(Run).where(Run.id == old.id).values(created_at=before))
    with sessions() as session:
        assert workload.active_runs(session) == {"QUEUED": 3, "STARTING": 1, "RUNNING": 1}
        assert workload.created_last_minute(session) == len(RunStatus) + 1


def test_ended_runs_per_minute_are_the_difference_of_two_samples(sessions, make_run):
    with sessions() as session:
        first = workload.read_sample(session)
    for _ in range(3):
        make_run(status=RunStatus.SUCCEEDED)
    with sessions() as session:
        second = workload.read_sample(session)
    half_a_minute_later = Sample(first.at + timedelta(seconds=30), second.ended)
    assert half_a_minute_later.per_minute(first)[RunStatus.SUCCEEDED] == 6
    assert first.per_minute(first) is None
    fewer = Sample(first.at + timedelta(seconds=30), dict.fromkeys(second.ended, 0))
    assert set(fewer.per_minute(second).values()) == {0}  # runs that were deleted


@pytest.mark.parametrize(
    "read",
    [
        workload.active_runs,
        workload.created_last_minute,
        lambda session: workload.read_queues(session, session.info["settings"], WORKING),
        lambda session: workload.read_workers(session, session.info["settings"], WORKING),
    ],
    ids=["active", "created", "queues", "workers"],
)
def test_no_count_reads_the_whole_table_of_runs(read, sessions, settings, make_run):
    make_run()
    with sessions() as session:
        session.info["settings"] = settings
        session.execute(text("SET LOCAL enable_seqscan = off"))
        connection = session.connection()
        scanned = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'runs'"
        before = connection.exec_driver_sql(scanned).scalar()
        read(session)
        assert connection.exec_driver_sql(scanned).scalar() == before


def test_a_redis_that_is_away_is_a_fault_and_no_error(settings):
    for url in ("redis://127.0.0.1:1", "", "http://nonsense"):
        given = {"database_url": settings.database_url, "redis_url": url}
        view = look_at_broker(Settings.model_validate(given))
        assert view.fault.startswith(("Redis: ", "RUNYARD_REDIS_URL"))
        assert "\n" not in view.fault


@pytest.fixture
def runyard(committed_settings, monkeypatch):
    """Call the command line on the test's own database and an empty Redis, where no worker answers."""
    monkeypatch.setattr("cli.operation.broker.ANSWER_TIMEOUT", 0.05)
    urls = {
        name: getattr(committed_settings, name).get_secret_value() for name in ("database_url", "redis_url")
    }

    def runyard(*words, **changed):
        env = {f"RUNYARD_{name.upper()}": value for name, value in {**urls, **changed}.items()}
        return CliRunner(env=env).invoke(main.app, list(words))

    return runyard


def test_a_queue_without_a_worker_is_told_by_the_exit_code(runyard, make_run, committed_sessions):
    del committed_sessions
    assert runyard("queues").exit_code == 0
    make_run()
    answer = runyard("queues", "--json")
    assert answer.exit_code == 3, answer.output
    (queue,) = json.loads(answer.stdout)
    assert (queue["name"], queue["waiting"], queue["workers"]) == ("runs", 1, 0)
    assert runyard("workers", "--json").exit_code == 3


@pytest.mark.parametrize("words", [["queues"], ["workers"], ["top", "--once", "--interval", "0.2"]])
def test_what_postgresql_knows_is_printed_while_redis_is_away(words, runyard, make_run, committed_sessions):
    with unit_of_work(committed_sessions) as session:
        beats.beat(session, WORKER, ProcessKind.WORKER)
    make_run()
    answer = runyard(*words, redis_url="redis://127.0.0.1:1")
    assert answer.exit_code == 1, answer.output
    assert (WORKER if "workers" in words else "runs") in answer.stdout
    (sentence,) = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence.startswith("Error: Redis: ")


def test_one_frame_without_a_terminal_has_all_parts(runyard, make_run, make_assistant, committed_sessions):
    evil = "x\x1b[2Jy"
    run = make_run(status=RunStatus.FAILED)
    with unit_of_work(committed_sessions) as session:
        detail = {"reason": "ModelFailed", "message": evil}
        session.execute(update(Run).where(Run.id == run.id).values(status_detail=detail))
    make_run()
    answer = runyard("top", "--once", "--interval", "0.2")
    assert answer.exit_code == 0, answer.output
    assert "1 QUEUED" in answer.stdout
    assert "2 created" in answer.stdout
    assert "ModelFailed" in answer.stdout
    assert str(run.id) in answer.stdout
    assert "\x1b" not in answer.output
    frame = json.loads(runyard("top", "--once", "--interval", "0.2", "--json").stdout)
    assert frame["active"] == {"QUEUED": 1, "STARTING": 0, "RUNNING": 0}
    assert [one["run_id"] for one in frame["failures"]] == [str(run.id)]
    assert frame["ended_per_minute"] == {"FAILED": 0}


def test_a_frame_is_drawn_for_a_terminal(committed_settings, make_run, committed_sessions):
    del committed_sessions
    run = make_run(status=RunStatus.ERROR)
    with reader(committed_settings) as engine:
        first, sample = look(engine, committed_settings, None)
        second, _ = look(engine, committed_settings, sample)
    assert first.ended_per_minute is None
    assert isinstance(second, Frame)
    drawing = io.StringIO()
    Console(file=drawing, width=100, color_system=None).print(drawn(second))
    assert "per minute: 1 created, none ended" in drawing.getvalue()
    assert str(run.id) in drawing.getvalue()  # whole, also on a narrow terminal
