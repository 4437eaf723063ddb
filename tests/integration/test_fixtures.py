"""The fixtures keep tests apart."""

import pytest
from sqlalchemy import func, select, text

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run


@pytest.mark.parametrize("status", list(RunStatus))
def test_a_run_can_be_made_in_every_status(make_run, status):
    assert make_run(status=status).status == status


@pytest.mark.parametrize("_turn", [1, 2])
def test_what_a_test_commits_is_rolled_back(sessions, make_run, _turn):
    make_run()
    with unit_of_work(sessions) as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 1


@pytest.mark.parametrize("_turn", [1, 2])
def test_a_cloned_database_is_seen_by_every_connection(committed_sessions, make_run, _turn):
    make_run()
    with committed_sessions() as one, committed_sessions() as other:
        counts = {session.scalar(select(func.count()).select_from(Run)) for session in (one, other)}
        backends = {session.scalar(text("SELECT pg_backend_pid()")) for session in (one, other)}
    assert counts == {1}
    assert len(backends) == 2
