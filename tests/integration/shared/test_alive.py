"""What a container's health check says of a worker or a reconciler."""

import subprocess
import sys

import pytest
from sqlalchemy import text

from shared import beats
from shared.alive import SILENT_AFTER, why_not
from shared.db import unit_of_work
from shared.models import ProcessKind

HOST = "c0ffee123456"


@pytest.fixture
def says(committed_settings):
    return lambda kind=ProcessKind.WORKER: why_not(kind, committed_settings, host=HOST)


@pytest.fixture
def beat(committed_sessions):
    def beat(name, *, ago=0.0, kind=ProcessKind.WORKER):
        with unit_of_work(committed_sessions) as session:
            beats.beat(session, name, kind)
            query = (
                "UPDATE process_beats SET beat_at = now() - make_interval(secs => :ago) WHERE name = :name"
            )
            session.execute(text(query), {"ago": ago, "name": name})

    return beat


def test_a_process_of_this_machine_that_was_just_heard_of_goes_on(says, beat):
    beat(f"runyard-1@{HOST}")
    assert says() is None


def test_one_that_fell_silent_does_not(says, beat):
    beat(f"runyard-1@{HOST}", ago=SILENT_AFTER + 5)
    assert f"runyard-1@{HOST} has not been heard of for" in says()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("runyard-1@another", ProcessKind.WORKER), (f"{HOST}/1", ProcessKind.RECONCILER)],
    ids=["elsewhere", "other"],
)
def test_others_do_not_count(says, beat, name, kind):
    beat(name, kind=kind)
    assert says() == f"No worker of {HOST} has been heard of."


def test_without_settings_it_is_a_sentence_and_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-m", "shared.alive", "worker"], env={}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "RUNYARD_DATABASE_URL" in ended.stderr
