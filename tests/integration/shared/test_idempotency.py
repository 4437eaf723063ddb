"""Who has an idempotency key while several want it."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.errors import ConflictError
from shared.idempotency.service import KEY_TTL, claim, forget_expired, remember
from shared.models import IdempotencyKey
from tests.support.locks import waiting_for_locks
from tests.support.waiting import wait_until

OURS, OTHER = b"ours", b"another request"


@pytest.fixture
def organization_id(committed_sessions, make_principal):
    return make_principal().organization_id


@pytest.fixture
def claim_and_make(committed_sessions, organization_id):
    """Claim the key in a transaction of its own; what was made for it by the end, and by whom."""

    def claim_and_make(resource_id, fingerprint=OURS):
        with committed_sessions.begin() as session:
            made_before = claim(session, organization_id, "one", fingerprint)
            if made_before is None:
                remember(session, organization_id, "one", resource_id)
            return made_before or resource_id

    return claim_and_make


@pytest.fixture
def expired(committed_sessions, claim_and_make):
    """The key, taken more than a day ago."""
    claim_and_make(uuid.uuid4())
    with committed_sessions.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=func.now() - KEY_TTL - timedelta(minutes=1)))


@pytest.fixture
def while_claimed(committed_sessions, organization_id, claim_and_make):
    """Hold the key in one transaction until another request waits for it; then end the first."""

    def while_claimed(*, commits, first_id, second_id, fingerprint=OURS):
        with ThreadPoolExecutor(1) as thread, committed_sessions() as session:
            assert claim(session, organization_id, "one", OURS) is None
            remember(session, organization_id, "one", first_id)
            second = thread.submit(claim_and_make, second_id, fingerprint)
            wait_until(lambda: waiting_for_locks(committed_sessions) == 1, what="the second to wait")
            (session.commit if commits else session.rollback)()
            return second.result(timeout=60)

    return while_claimed


def test_a_duplicate_waits_for_the_first_and_gets_its_resource(while_claimed):
    first_id, second_id = uuid.uuid4(), uuid.uuid4()
    assert while_claimed(commits=True, first_id=first_id, second_id=second_id) == first_id


def test_a_duplicate_of_one_that_fails_takes_its_place(while_claimed, claim_and_make):
    first_id, second_id = uuid.uuid4(), uuid.uuid4()
    assert while_claimed(commits=False, first_id=first_id, second_id=second_id) == second_id
    assert claim_and_make(uuid.uuid4()) == second_id


def test_another_request_that_waited_is_refused(while_claimed):
    with pytest.raises(ConflictError):
        while_claimed(commits=True, first_id=uuid.uuid4(), second_id=uuid.uuid4(), fingerprint=OTHER)


@pytest.mark.usefixtures("expired")
def test_of_two_that_want_an_expired_key_one_takes_it(while_claimed):
    first_id, second_id = uuid.uuid4(), uuid.uuid4()
    assert while_claimed(commits=True, first_id=first_id, second_id=second_id) == first_id


@pytest.mark.usefixtures("expired")
def test_a_key_being_taken_over_is_not_deleted(committed_sessions, organization_id):
    with committed_sessions.begin() as session:
        assert claim(session, organization_id, "one", OTHER) is None
        with committed_sessions.begin() as reconciler:
            assert forget_expired(reconciler, limit=10) == 0
        remember(session, organization_id, "one", uuid.uuid4())
    with committed_sessions() as session:
        assert session.scalars(select(IdempotencyKey.fingerprint)).all() == [OTHER]
