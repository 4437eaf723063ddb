"""A worker has its name to itself: what it is told, what its row says, and who answers to it."""

import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.db import unit_of_work
from shared.models import ProcessBeat
from shared.processes import beats
from tests.support.pool_bench import PoolBench
from tests.support.waiting import wait_until
from worker import identity
from worker.process import naming
from worker.process.naming import settle
from worker.process.presence import Presence

LONG_AGO = timedelta(hours=1)
LEASE = timedelta(seconds=20)


def ago(seconds):
    return func.now() - timedelta(seconds=seconds)


@pytest.fixture
def setting_overrides():
    return {"lease_ttl": LEASE}


@pytest.fixture
def named(committed_settings):
    """Take a name for a holder."""

    def named(wanted, holder=None, *, is_kept=True):
        return settle(committed_settings, wanted, holder or uuid.uuid4(), is_kept=is_kept)

    return named


@pytest.fixture
def names(committed_sessions):
    def names():
        with committed_sessions() as session:
            return set(session.scalars(select(ProcessBeat.name)))

    return names


@pytest.fixture
def rewrite(committed_sessions):
    """Let the row of a name say something else."""

    def rewrite(name, **values):
        with unit_of_work(committed_sessions) as session:
            session.execute(update(ProcessBeat).where(ProcessBeat.name == name).values(values))

    return rewrite


@pytest.fixture
def nobody_answers(monkeypatch):
    """Wait less for the answer of a worker that there is not."""
    monkeypatch.setattr(naming, "ANSWER_TIMEOUT", 0.05)
    monkeypatch.setattr(naming, "FRESH_ANSWER_TIMEOUT", 0.1)


def test_a_name_that_nobody_has_is_had(named, names):
    assert named("blue") == "blue"
    assert names() == {"blue"}


@pytest.mark.usefixtures("nobody_answers")
def test_of_two_that_start_at_once_one_gets_a_number(named, names):
    with ThreadPoolExecutor(2) as both:
        assert set(both.map(named, ["blue@here", "blue@here"])) == {"blue@here", "blue.2@here"}
    assert names() == {"blue@here", "blue.2@here"}


@pytest.mark.usefixtures("nobody_answers")
def test_what_a_supervisor_starts_again_has_the_name_again(named):
    holder = uuid.uuid4()
    assert [named("blue", holder) for _ in range(2)] == ["blue", "blue"]


@pytest.mark.usefixtures("nobody_answers")
@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"process": "elsewhere/7"}, "blue.2"),  # it may be about to listen
        ({"process": "elsewhere/7", "taken_at": func.now() - LONG_AGO}, "blue"),  # it would answer
        (
            {"process": "elsewhere/7", "taken_at": ago(50), "beat_at": ago(50)},
            "blue.2",
        ),  # it may load for long
        (
            {"process": "elsewhere/7", "taken_at": ago(50), "beat_at": ago(40)},
            "blue",
        ),  # it was ready, and beat
        ({"process": None, "holder": None, "taken_at": None}, "blue"),  # of an earlier release
    ],
)
def test_the_name_of_one_that_was_killed_is_free_again(named, rewrite, values, name):
    named("blue")
    rewrite("blue", **values)
    assert named("blue") == name


@pytest.mark.usefixtures("nobody_answers")
def test_one_that_was_killed_on_this_machine_is_known_to_be_dead(named, rewrite):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    named("blue")
    host = beats.this_process().rpartition("/")[0]
    rewrite("blue", process=f"{host}/{dead.pid}")
    assert named("blue") == "blue"


@pytest.mark.parametrize("is_kept", [True, False])
def test_who_answers_to_a_name_has_it_whatever_is_written_down(
    committed_settings, tmp_path, named, names, is_kept
):
    bench = PoolBench(committed_settings, tmp_path)
    with bench.worker(name="blue"):
        wait_until(lambda: names() == {"blue@test"}, what="the worker to say so")
        with_row = named("blue@test", is_kept=is_kept)
    bench.close()
    assert with_row == "blue.2@test"
    assert ("blue.2@test" in names()) is is_kept


def test_without_a_database_there_is_a_name_all_the_same(committed_settings):
    nowhere = committed_settings.model_copy(
        update={"database_url": type(committed_settings.database_url)("postgresql://127.0.0.1:1/none")}
    )
    assert settle(nowhere, "blue", uuid.uuid4(), is_kept=True) == "blue"


def test_a_worker_that_wakes_and_finds_its_name_taken_is_told_once(committed_sessions, rewrite, monkeypatch):
    lost = threading.Event()
    told = []
    monkeypatch.setattr(identity, "_holders", [uuid.uuid4()])
    beating = Presence(
        "blue", lambda: committed_sessions, interval=0.05, on_name_lost=lambda: (told.append(1), lost.set())
    )
    beating.start()

    def taken():
        rewrite("blue", holder=uuid.uuid4())
        return lost.wait(0.1)

    wait_until(taken, what="it to find out")
    beating.close()
    assert told == [1]
    with committed_sessions() as session:
        assert beats.find_holding(session, "blue")  # what is another's stays there


def test_runs_and_log_lines_have_the_name_of_the_process(monkeypatch):
    monkeypatch.setattr(identity, "_names", [])
    assert identity.own_name() == beats.this_process()
    identity.set_name("blue")
    assert identity.own_name() == "blue"
