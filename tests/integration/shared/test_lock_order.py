"""What is done at once to things that hang together: with one order of locks, nothing is a deadlock."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from shared.assistants import runs
from shared.assistants.service import default_assistant
from shared.db import Lock, unit_of_work
from shared.errors import RunyardError
from shared.keys import service as keys
from shared.lifecycle import TERMINAL, Reason, RunStatus, StatusDetail
from shared.models import Run, Thread
from shared.organizations import admin
from shared.organizations import service as organizations
from shared.rulesets import service as rulesets
from shared.runs import moves
from shared.structures import runs as structure_runs
from shared.threads import service as threads
from tests.support.waiting import wait_until

ROUNDS = 8


@pytest.fixture
def do(committed_sessions):
    """Do one thing in a transaction of its own; what it is refused with on purpose is its result."""

    def do(work, *args, **kwargs):
        try:
            with unit_of_work(committed_sessions) as session:
                return work(session, *args, **kwargs)
        except RunyardError as refusal:
            return refusal

    return do


@pytest.fixture
def at_once(do):
    """Do several things at once, each in its own transaction; a deadlock is raised."""

    def at_once(*works):
        barrier = threading.Barrier(len(works))

        def one(work):
            barrier.wait(60)
            return do(work)

        with ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(one, works))

    return at_once


@pytest.fixture
def principal(factories):
    return factories.principal()


@pytest.fixture
def make_rule(do, principal):
    return lambda: do(rulesets.create_rule, principal, {"name": "x", "rule": "x"}).id


def refusals(results):
    return {type(result).__name__ for result in results if isinstance(result, RunyardError)}


def test_rules_are_deleted_while_rulesets_that_list_them_change(do, at_once, principal, make_rule):
    for _ in range(ROUNDS):
        rules = [make_rule() for _ in range(4)]
        sets = [
            do(rulesets.create_ruleset, principal, {"name": "x"}, order).id for order in (rules, rules[::-1])
        ]
        results = at_once(
            lambda s, rules=rules: rulesets.delete_rule(s, principal, rules[0]),
            lambda s, rules=rules: rulesets.delete_rule(s, principal, rules[3]),
            lambda s, sets=sets, rules=rules: rulesets.change_ruleset(s, principal, sets[0], {}, rules[::-1]),
            lambda s, sets=sets, rules=rules: rulesets.change_ruleset(s, principal, sets[1], {}, rules),
            lambda s, rules=rules: rulesets.create_ruleset(s, principal, {"name": "y"}, rules),
        )
        assert refusals(results) <= {"InvalidRequestError"}  # a rule that it was to list is gone


def test_rules_and_rulesets_are_deleted_at_once(do, at_once, principal, make_rule):
    for _ in range(ROUNDS):
        rules = [make_rule() for _ in range(3)]
        sets = [do(rulesets.create_ruleset, principal, {"name": "x"}, rules).id for _ in range(3)]
        results = at_once(
            *(lambda s, one=one: rulesets.delete_rule(s, principal, one) for one in rules),
            *(lambda s, one=one: rulesets.delete_ruleset(s, principal, one) for one in sets),
        )
        assert refusals(results) == set()


def answer(session, dispatcher, run):
    detail = StatusDetail(Reason.COMPLETED, "The assistant answered.")
    answered = {"prompt": "x", "output": {"type": "TextArtifact", "value": "x"}}
    moves.succeed(session, dispatcher, run.id, attempt=1, detail=detail, **answered)


def test_a_thread_is_deleted_while_its_runs_come_end_and_are_cancelled(
    do, at_once, principal, factories, dispatcher, committed_sessions
):
    assistant = factories.assistant(principal)
    for _ in range(ROUNDS):
        thread_id = do(threads.create, principal, {"name": "x"}).id
        holder = factories.run(principal, assistant, status=RunStatus.RUNNING, thread_id=thread_id)
        waiting = [factories.run(principal, assistant, thread_id=thread_id) for _ in range(3)]
        request = runs.RunRequest(thread_id=thread_id)
        results = at_once(
            lambda s, holder=holder: answer(s, dispatcher, holder),
            lambda s, thread_id=thread_id: threads.delete(s, dispatcher, principal, thread_id),
            lambda s, request=request: runs.submit(s, dispatcher, principal, assistant.id, request),
            lambda s, request=request: runs.submit(s, dispatcher, principal, assistant.id, request),
            lambda s, run=waiting[0]: moves.cancel(s, dispatcher, run.id, requested_by="x"),
            lambda s, run=waiting[1]: moves.cancel(s, dispatcher, run.id, requested_by="x"),
        )
        assert refusals(results) <= {"ThreadNotFoundError"}
        with committed_sessions() as session:
            assert session.get(Thread, thread_id) is None
            left = [session.get_one(Run, run.id) for run in (holder, *waiting)]
        assert left[0].status is RunStatus.SUCCEEDED
        assert left[3].status is RunStatus.QUEUED
        assert not left[3].waits_for_thread


def test_a_deletion_that_finds_another_run_on_the_thread_begins_anew(
    do, committed_sessions, principal, factories, dispatcher
):
    """It holds the thread only together with the run that has it."""
    thread_id = do(threads.create, principal, {"name": "x"}).id
    first = factories.run(principal, status=RunStatus.RUNNING, thread_id=thread_id)
    second = factories.run(principal, thread_id=thread_id)
    with committed_sessions() as ending:
        answer(ending, dispatcher, first)  # the second has the thread now
        with ThreadPoolExecutor(1) as pool:
            deletion = pool.submit(do, threads.delete, dispatcher, principal, thread_id)
            wait_until(lambda: is_waiting(committed_sessions), timeout=60)
            ending.commit()
            assert deletion.result(10) is None
    with committed_sessions() as session:
        assert session.get(Thread, thread_id) is None
        assert session.get_one(Run, second.id).status is RunStatus.QUEUED


def is_waiting(sessions):
    """Whether somebody waits for a lock in this database."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with sessions() as session:
        return session.connection().exec_driver_sql(query).scalar()


def test_an_organization_is_deleted_while_things_are_begun_in_it(
    do, at_once, factories, dispatcher, committed_sessions
):
    for _ in range(ROUNDS):
        own = factories.principal()
        assistant, structure = factories.assistant(own), factories.structure(own)
        thread_id = do(threads.create, own, {"name": "x"}).id
        rule = do(rulesets.create_rule, own, {"name": "x", "rule": "x"}).id
        on_it, on_new = runs.RunRequest(thread_id=thread_id), runs.RunRequest(new_thread=True)
        program = structure_runs.StructureRunRequest()
        uses = {own.key_id: datetime.now(UTC)}
        deleted, *rest = at_once(
            lambda s, own=own: organizations.erase(s, own.organization_id),
            lambda s, own=own, r=on_it, a=assistant: runs.submit(s, dispatcher, own, a.id, r),
            lambda s, own=own, r=on_new, a=assistant: runs.submit(s, dispatcher, own, a.id, r),
            lambda s, own=own, p=program, x=structure: structure_runs.submit(s, dispatcher, own, x.id, p),
            lambda s, own=own, t=thread_id: threads.change(s, own, t, {"name": "y"}, []),
            lambda s, own=own, rule=rule: rulesets.create_ruleset(s, own, {"name": "x"}, [rule]),
            lambda s, uses=uses: keys.record_use(s, uses),
        )
        assert refusals(rest) <= {
            "AssistantNotFoundError",
            "StructureNotFoundError",
            "ThreadNotFoundError",
            "InvalidRequestError",  # the rule that the ruleset was to list
        }
        accepted = [result for result in rest if isinstance(result, Run)]
        assert (deleted is None) == (not accepted), "a run that was accepted is lost with its organization"
        with committed_sessions() as session:
            left = [session.get(Run, run.id) for run in accepted]
        assert all(run is not None and run.status not in TERMINAL for run in left)


def test_a_member_leaves_while_keys_are_made_and_their_uses_recorded(do, at_once, factories):
    for _ in range(ROUNDS):
        own = factories.principal()

        def make(session, own=own):
            return keys.create_key(
                session, organization_id=own.organization_id, user_id=own.user_id, name="x"
            )

        made = [do(make)[0].id for _ in range(6)]
        uses = dict.fromkeys(made, datetime.now(UTC))
        backwards = dict(reversed(uses.items()))
        results = at_once(
            lambda s, own=own: admin.remove_member(s, own.user_id),
            make,
            lambda s, uses=uses: keys.record_use(s, uses),
            lambda s, uses=backwards: keys.record_use(s, uses),
            lambda s, own=own, key=made[2]: keys.rename_key(s, own, key, "y"),
            lambda s, own=own, key=made[3]: keys.delete_key(s, own, key),
        )
        assert refusals(results) <= {"UserNotFoundError", "ApiKeyNotFoundError"}


def test_first_runs_wait_for_the_one_that_makes_the_default_assistant(do, at_once, principal):
    found = at_once(*[lambda s: default_assistant(s, principal).id] * 6)
    assert len(set(found)) == 1


def test_a_lock_finds_what_is_there_when_it_is_given(do, committed_sessions, principal):
    thread_id = do(threads.create, principal, {"name": "before"}).id
    with committed_sessions() as first, ThreadPoolExecutor(1) as pool:
        thread = threads.change(first, principal, thread_id, {"name": "after"})
        reading = pool.submit(do, lock_name, principal, thread_id)
        wait_until(lambda: is_waiting(committed_sessions), timeout=60)
        assert thread.name == "after"
        first.commit()
        assert reading.result(10) == "after"


def lock_name(session, principal, thread_id: uuid.UUID):
    known = threads.get_thread(session, thread_id, organization_id=principal.organization_id)
    assert known.name == "before"
    threads.get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    return known.name
