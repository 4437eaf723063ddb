"""What is done once a transaction has committed."""

import pytest
from sqlalchemy import select

from shared.db import after_commit, part_of, unit_of_work


@pytest.fixture
def done():
    return []


def fail():
    raise ZeroDivisionError


def test_what_fails_keeps_nothing_back(sessions, done):
    """A message that cannot be counted is sent all the same, and so are those of other runs."""
    with pytest.raises(ZeroDivisionError), unit_of_work(sessions) as session:
        session.execute(select(1))
        for callback in (lambda: done.append(1), fail, lambda: done.append(2), lambda: done.append(3)):
            after_commit(session, callback)
    assert done == [1, 2, 3]


def test_what_a_part_that_failed_wanted_is_not_done(sessions, done):
    with unit_of_work(sessions) as session:
        after_commit(session, lambda: done.append("before"))
        with pytest.raises(ZeroDivisionError), part_of(session):
            after_commit(session, lambda: done.append("undone"))
            fail()
        with part_of(session):
            after_commit(session, lambda: done.append("after"))
    assert done == ["before", "after"]


def test_nothing_is_done_after_a_rollback(sessions, done):
    with pytest.raises(ZeroDivisionError), unit_of_work(sessions) as session:
        after_commit(session, lambda: done.append("undone"))
        fail()
    assert done == []
