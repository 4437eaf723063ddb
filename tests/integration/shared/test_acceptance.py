"""Acceptance: many runs in one statement are stored like each alone, and none is in another's way."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import inspect, select, text, update

from shared.assistants.acceptance import KnownAssistants, Offer, accept
from shared.assistants.runs import RunRequest, submit
from shared.db import Lock, unit_of_work
from shared.models import Assistant, Organization, Run, RunEvent, RunMetadata, User
from shared.runs.acceptance import INSERT
from shared.terms import UNBOUNDED, ModelRules, Terms
from tests.support.dispatching import RecordingDispatcher
from tests.support.listening import listen

OWN = {"id", "created_at", "updated_at", "queued_at", "dispatched_at"}
"""The columns in which two runs of the same request differ."""

REQUESTS = {
    "plain": RunRequest(input="hello"),
    "nothing": RunRequest(),
    "everything": RunRequest(
        input="h\u00e9llo \u2028 \"'",
        args=["a", '{"b": 1}'],
        stream=True,
        model="echo",
        limits={"max_duration": timedelta(seconds=90.5), "queue_ttl": timedelta(days=2), "max_attempts": 2},
        llm_params={"b": 1, "a": [1.5, None, {"c": "d"}]},
        guardrails={"x": True},
        additional_parameters={"y": []},
        metadata={"team": "a", "ticket": "\u00e9"},
    ),
}


@pytest.fixture
def principal(factories):
    return factories.default_principal()


@pytest.fixture
def known():
    return KnownAssistants()


@pytest.fixture
def accepted(committed_sessions, dispatcher, known):
    """Accept offers in a transaction of their own."""

    def accepted(*offers, dispatcher=dispatcher):
        with unit_of_work(committed_sessions) as session:
            found = accept(session, dispatcher, offers, known=known)
        assert [one.event.run_id for one in found if one] == [one.run.id for one in found if one]
        return [one and one.run for one in found]

    return accepted


def offer(principal, assistant, request=REQUESTS["plain"], terms=UNBOUNDED):
    return Offer(principal, assistant.id, request, terms)


def stored(session, run_id):
    """The rows of a run, without what is its own."""
    run = session.get_one(Run, run_id)
    first = session.scalars(select(RunEvent).where(RunEvent.run_id == run_id)).one()
    notes = session.scalars(select(RunMetadata).where(RunMetadata.run_id == run_id)).all()
    assert all(note.created_at == run.created_at for note in notes)
    assert run.created_at == run.updated_at == run.queued_at == run.dispatched_at
    return (
        columns_of(run, OWN),
        columns_of(first, {"run_id", "event_id", "timestamp", "created_at"}),
        sorted((note.key, note.value, note.subject_id, note.organization_id, note.kind) for note in notes),
    )


def columns_of(row, without):
    names = {attribute.key for attribute in inspect(type(row)).column_attrs} - without
    return {name: getattr(row, name) for name in sorted(names)}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_run_is_stored_and_sent_as_one_that_is_submitted_alone(
    accepted, committed_sessions, principal, make_assistant, request_, dispatcher
):
    assistant = make_assistant(
        input="of the assistant",
        model="echo",
        knowledge_base_ids=[uuid.uuid4()],
        max_duration=timedelta(minutes=3),
    )
    alone = RecordingDispatcher()
    with unit_of_work(committed_sessions) as session:
        submitted = submit(session, alone, principal, assistant.id, request_)
    (run,) = accepted(offer(principal, assistant, request_))
    with committed_sessions() as session:
        assert stored(session, run.id) == stored(session, submitted.id)
        assert columns_of(session.get_one(Run, run.id), set()) == {
            **columns_of(run, {"subject_id"}),
            "subject_id": assistant.id,
            **{
                name: getattr(session.get_one(Run, submitted.id), name)
                for name in ("is_external", "losses", "log_count", "is_stopping", "dispatch_count")
            },
        }
    assert dispatcher.enqueued == [(run.id, 1)]
    (one,), (other,) = dispatcher.announced, alone.announced
    assert (one.run_id, one.seq, one.payload, one.size, one.type, one.origin, one.attempt) == (
        run.id,
        0,
        other.payload,
        other.size,
        other.type,
        other.origin,
        other.attempt,
    )
    assert list(one.payload) == list(other.payload)  # the bytes that a later reader gets


def test_any_number_of_runs_is_one_statement_in_one_transaction(
    accepted, committed_engine, principal, make_assistant
):
    assistant = make_assistant()
    accepted(offer(principal, assistant))  # it reads the assistant
    said = []
    listen(committed_engine, "before_cursor_execute", lambda *given: said.append(given[2].split()[0]))
    listen(committed_engine, "commit", lambda _connection: said.append("COMMIT"))
    runs = accepted(*[offer(principal, assistant) for _ in range(20)])
    assert None not in runs
    assert said == ["WITH", "COMMIT"]


def test_an_assistant_that_has_changed_is_read_anew(accepted, committed_sessions, principal, make_assistant):
    assistant = make_assistant(input="old")
    assert accepted(offer(principal, assistant, RunRequest()))[0].input == "old"
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Assistant).where(Assistant.id == assistant.id).values(input="new"))
    assert accepted(offer(principal, assistant, RunRequest())) == [None]  # `submit` is to find out
    assert accepted(offer(principal, assistant, RunRequest()))[0].input == "new"


@pytest.mark.parametrize("model", [Organization, Assistant, User])
def test_who_is_being_deleted_holds_up_nobody_else(
    accepted, committed_sessions, factories, principal, make_assistant, model
):
    elsewhere = factories.principal(organization="elsewhere", email="b@elsewhere.example")
    own, other = make_assistant(), factories.assistant(elsewhere)
    key = {Organization: principal.organization_id, Assistant: own.id, User: principal.user_id}[model]
    assert None not in accepted(offer(principal, own), offer(elsewhere, other))
    with unit_of_work(committed_sessions) as session:
        session.execute(text("SET LOCAL lock_timeout = '1s'"))
        assert session.scalar(Lock.REMOVAL(select(model.id).where(model.id == key), model)) == key
        mine, theirs = accepted(offer(principal, own), offer(elsewhere, other))
    assert mine is None
    assert theirs is not None


def test_what_cannot_be_accepted_is_left_to_submit(accepted, factories, principal, make_assistant):
    elsewhere = factories.principal(organization="elsewhere", email="b@elsewhere.example")
    own, other = make_assistant(), factories.assistant(elsewhere)
    gone = make_assistant(deleted_at=own.created_at)
    terms = Terms(ModelRules.parse("openai/*"))
    refused = offer(principal, own, RunRequest(model="echo"), terms)
    runs = accepted(
        offer(principal, other),
        offer(principal, gone),
        refused,
        Offer(principal, uuid.uuid4(), RunRequest(), UNBOUNDED),
        offer(principal, own),
    )
    assert [run is None for run in runs] == [True, True, True, True, False]


def test_with_shares_a_run_is_sent_by_the_choice_of_the_next(
    accepted, committed_sessions, principal, make_assistant
):
    assistant, sharing = make_assistant(), RecordingDispatcher(share=1)
    first, second = accepted(offer(principal, assistant), offer(principal, assistant), dispatcher=sharing)
    assert (first.dispatched_at, second.dispatched_at) == (None, None)
    assert len(sharing.enqueued) == 1
    with committed_sessions() as session:
        sent = [session.get_one(Run, run.id).dispatched_at is not None for run in (first, second)]
    assert sorted(sent) == [False, True]


def test_large_assistants_are_not_kept(accepted, known, principal, make_assistant):
    assistant = make_assistant(input="x" * 100_000)
    assert accepted(offer(principal, assistant)) == [None]
    assert known.find(assistant.id, organization_id=principal.organization_id) is None


def test_no_table_that_grows_is_read_whole(superuser_engine):
    many = """
        INSERT INTO organizations (id, default_bucket_id, name)
            SELECT gen_random_uuid(), gen_random_uuid(), 'x' FROM generate_series(1, 20000);
        INSERT INTO users (id, email, name)
            SELECT gen_random_uuid(), n || '@x.example', 'x' FROM generate_series(1, 20000) AS n;
        INSERT INTO assistants (id, organization_id, name, created_by)
            SELECT gen_random_uuid(), id, 'x', (SELECT id FROM users LIMIT 1) FROM organizations;
    """
    explained = text(f"EXPLAIN {INSERT}")
    with superuser_engine.begin() as connection:
        connection.execute(text(many))
        connection.execute(text("ANALYZE organizations, users, assistants"))
        plan = connection.scalars(explained, {"runs": "[]", "waits_for_share": False}).all()
    assert [line for line in plan if "Seq Scan" in line] == []
