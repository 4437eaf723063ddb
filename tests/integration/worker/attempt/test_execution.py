"""One attempt from claim to outcome, on the real database, with executors that do as they are told."""

import asyncio
import dataclasses
import threading
from datetime import timedelta

import pytest
from sqlalchemy import update

from shared.db import unit_of_work
from shared.events.usage import MOST_TOKENS
from shared.keys.principal import Principal
from shared.lifecycle import Reason, RunStatus
from shared.models import Run
from shared.runs import moves, service
from shared.threads import service as threads
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import resources as worker_resources
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute
from worker.cancellation import RunStopped, StopReason
from worker.executors.base import ExecutorEvent, Failed, InvalidConfigurationError, PlatformError, Succeeded

PATIENCE = 60
ANSWER = {"type": "TextArtifact", "id": "a", "name": "a", "meta": {}, "reference": None, "value": "hello"}


@pytest.fixture
def setting_overrides():
    return {
        "cancel_grace": timedelta(seconds=1),
        "heartbeat": timedelta(milliseconds=200),
        "event_flush": timedelta(milliseconds=20),
    }


@pytest.fixture
def start(resources, committed_sessions, make_run):
    """Execute a new run with an executor, in a thread."""
    threads = []

    def start(executor, **request):
        run, slot, result = make_run(**request), FakeSlot(), {}

        def resolve(*_):
            return executor

        def work():
            result["ending"] = execute(resources, run.id, 1, slot, resolve=resolve)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        threads.append(thread)

        def join():
            thread.join(PATIENCE)
            return result.get("ending")

        return run, slot, join

    yield start
    for thread in threads:
        thread.join(PATIENCE)


def eventually(condition):
    return wait_until(condition, timeout=PATIENCE)


def say(token):
    return ExecutorEvent("TextChunkEvent", {"type": "TextChunkEvent", "token": token, "index": 0})


def used(tokens_in, tokens_out):
    counts = {"input_token_count": tokens_in, "output_token_count": tokens_out}
    payload = {"type": "FinishPromptEvent", "model": "m", **counts}
    return ExecutorEvent("FinishPromptEvent", payload)


def test_a_run_succeeds_with_its_events_in_order(start, reload, events_of):
    def executor(context, emit):
        assert (context.input, context.args, context.model) == ("Hi", ("a",), "echo")
        for token in ("one ", "two ", "three"):
            emit(say(token))
        emit(used(3, 4))
        emit(used(1, 1))
        return Succeeded(ANSWER)

    run, _, join = start(executor, input="Hi", args=["a"])
    assert join() is Ending.SUCCEEDED
    after = reload(run)
    assert (after.status, after.output) == (RunStatus.SUCCEEDED, ANSWER)
    tokens = {"input_tokens": 4, "output_tokens": 5}
    assert after.usage == {**tokens, "total_tokens": 9, "model_calls": 2, "models": {"m": tokens}}
    events = events_of(run)
    types = [event.type for event in events]
    assert types[:3] == ["AssistantRunQueued", "AssistantRunStarting", "AssistantRunRunning"]
    assert types[-2:] == ["FinishStructureRunEvent", "AssistantRunCompleted"]
    assert events[-2].payload["output_task_output"] == ANSWER
    text = "".join(event.payload["token"] for event in events if event.type == "TextChunkEvent")
    assert text == "one two three"
    assert [event.seq for event in events] == list(range(len(events)))


class PanicException(BaseException):
    """As libraries that are written in Rust raise it."""


@pytest.mark.parametrize("error", [PanicException("at 5"), SystemExit(3), asyncio.CancelledError("no")])
def test_an_exception_that_is_no_error_fails_the_run(start, reload, error):
    def executor(_context, _emit):
        raise error

    run, _, join = start(executor)
    assert join() is Ending.FAILED
    after = reload(run)
    assert after.status is RunStatus.FAILED
    assert after.status_detail["reason"] == Reason.ASSISTANT_FAILED
    assert after.status_detail["message"] == f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("outcome", [Succeeded, Failed])
def test_the_details_of_a_status_hold_no_key(start, reload, monkeypatch, outcome):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-operator")
    given = {"said": ["key sk-of-the-operator"]}
    failed = Failed("It broke.", detail=given)
    answered = Succeeded(ANSWER, detail=given)

    run, _, join = start(lambda *_: failed if outcome is Failed else answered)
    join()
    assert reload(run).status_detail["said"] == ["key [OPENAI_API_KEY]"]


def test_an_event_is_stored_while_the_assistant_goes_on(start, events_of):
    go_on = threading.Event()

    def executor(context, emit):
        emit(say("early"))
        assert go_on.wait(PATIENCE)
        return Succeeded(ANSWER)

    run, _, join = start(executor)
    eventually(lambda: [event for event in events_of(run) if event.type == "TextChunkEvent"])
    go_on.set()
    assert join() is Ending.SUCCEEDED


@pytest.mark.parametrize(
    ("behaviour", "status", "reason"),
    [
        (Failed("the tool broke"), RunStatus.FAILED, Reason.ASSISTANT_FAILED),
        (Failed("503 from the provider", Reason.MODEL_FAILED), RunStatus.FAILED, Reason.MODEL_FAILED),
        (ValueError("a bug in the assistant"), RunStatus.FAILED, Reason.ASSISTANT_FAILED),
        (InvalidConfigurationError("no key"), RunStatus.ERROR, Reason.INVALID_CONFIGURATION),
    ],
)
def test_how_a_run_fails_is_told_apart(start, reload, events_of, behaviour, status, reason):
    def executor(context, emit):
        if isinstance(behaviour, Exception):
            raise behaviour
        return behaviour

    run, _, join = start(executor)
    join()
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (status, reason)
    finish = next(event for event in events_of(run) if event.type == "FinishStructureRunEvent")
    artifact = finish.payload["output_task_output"]
    assert artifact["type"] == "ErrorArtifact"
    assert artifact["value"] == after.status_detail["message"]


def test_no_secret_of_the_environment_gets_into_a_message(start, reload, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")

    def executor(context, emit):
        msg = "refused: key sk-very-secret-value is not valid"
        raise RuntimeError(msg)

    run, _, join = start(executor)
    join()
    assert "sk-very-secret-value" not in reload(run).status_detail["message"]
    assert "OPENAI_API_KEY" in reload(run).status_detail["message"]


@pytest.mark.parametrize(
    "text", [("the key sk-very-sec", "ret-value-12345 is bad"), ("ends in sk-very-secret-val",)]
)
def test_no_key_of_a_provider_gets_into_an_event_or_an_answer(start, reload, events_of, monkeypatch, text):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value-12345\n")

    def executor(context, emit):
        for token in text:
            emit(say(token))
        emit(ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "result": "".join(text)}))
        for token in text:
            emit(say(token))
        return Succeeded({**ANSWER, "value": "".join(text)})

    run, _, join = start(executor)
    assert join() is Ending.SUCCEEDED
    told = [event.payload for event in events_of(run)]
    assert not {"sk-very", "ret-value"} & {part for part in ("sk-very", "ret-value") if part in str(told)}
    assert str(told).count("[OPENAI_API_KEY]") >= 3
    assert "OPENAI_API_KEY" in reload(run).output["value"]


def test_an_unknown_model_ends_the_run_in_error(resources, make_run, reload):
    run = make_run(model="nobody/knows")
    assert execute(resources, run.id, 1, FakeSlot()) is Ending.BROKEN
    assert reload(run).status_detail["reason"] == Reason.INVALID_CONFIGURATION


@pytest.mark.parametrize(("model", "default"), [("openai/gpt-5", "echo"), (None, "openai/gpt-5")])
def test_a_model_that_the_operator_does_not_allow_ends_the_run_in_error(
    resources, make_run, reload, model, default
):
    changed = {"models": "echo, ollama/*", "model": default}
    under_terms = dataclasses.replace(resources, settings=resources.settings.model_copy(update=changed))
    run = make_run(model=model)

    assert execute(under_terms, run.id, 1, FakeSlot()) == Ending.BROKEN
    ended = reload(run)
    assert (ended.status, ended.status_detail["reason"]) == (RunStatus.ERROR, "InvalidConfiguration")
    assert "allowed are: echo, ollama/*" in ended.status_detail["message"]


def test_a_fault_of_the_worker_ends_the_run_in_error(resources, make_run, reload):
    run = make_run()

    def resolve(*_):
        raise ZeroDivisionError

    assert execute(resources, run.id, 1, FakeSlot(), resolve=resolve) is Ending.BROKEN
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, Reason.INTERNAL_ERROR)
    assert "ZeroDivisionError" not in after.status_detail["message"]


@pytest.mark.parametrize("returned", [None, "done", {"type": "TextArtifact"}])
def test_an_executor_that_returns_no_outcome_fails_its_run(resources, make_run, reload, returned):
    run = make_run()
    executor = lambda *_: returned  # noqa: E731  # all that it does
    assert execute(resources, run.id, 1, FakeSlot(), resolve=lambda *_: executor) is Ending.FAILED
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.FAILED, Reason.ASSISTANT_FAILED)
    assert f"returned {type(returned).__name__} instead of" in after.status_detail["message"]


def test_a_second_message_does_nothing(resources, make_run, reload):
    run = make_run(status=RunStatus.RUNNING)
    assert execute(resources, run.id, 1, FakeSlot()) is Ending.NOT_CLAIMED
    assert reload(run).attempt == 1


def cancel(committed_sessions, dispatcher, run):
    with unit_of_work(committed_sessions) as session:
        moves.cancel(session, dispatcher, run.id, requested_by="me")


def test_the_heartbeat_finds_a_cancel_whose_revoke_was_missed(
    start, reload, events_of, committed_sessions, dispatcher
):
    """Promise 5: a cancel is durable when answered, and its work stops without any message."""
    begun = threading.Event()

    def executor(context, emit):
        emit(used(7, 0))
        begun.set()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()
        return Succeeded(ANSWER)

    run, _, join = start(executor)
    assert begun.wait(PATIENCE)
    cancel(committed_sessions, dispatcher, run)
    assert join() is Ending.CANCELLED
    after = reload(run)
    assert after.status is RunStatus.CANCELLED
    assert after.status_detail["stopped_how"] == "cooperative"
    assert after.usage["input_tokens"] == 7
    assert events_of(run)[-1].is_last


def test_the_fenced_write_finds_a_cancel(start, reload, committed_sessions, dispatcher, events_of):
    begun, cancelled = threading.Event(), threading.Event()

    def executor(context, emit):
        begun.set()
        cancelled.wait(PATIENCE)
        while True:
            emit(say("more"))
            context.token.wait(0.01)

    run, _, join = start(executor)
    assert begun.wait(PATIENCE)
    cancel(committed_sessions, dispatcher, run)
    cancelled.set()
    assert join() is Ending.CANCELLED
    assert reload(run).status_detail["stopped_how"] == "cooperative"
    assert [event.type for event in events_of(run)].count("TextChunkEvent") == 0


def test_a_busy_loop_is_interrupted_within_the_grace(start, reload, committed_sessions, dispatcher):
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        while True:
            pass

    run, _, join = start(executor)
    assert begun.wait(PATIENCE)
    cancel(committed_sessions, dispatcher, run)
    assert join() is Ending.CANCELLED
    assert reload(run).status_detail["stopped_how"] == "interrupted"


def test_code_that_does_not_stop_is_abandoned_and_can_write_nothing(
    start, reload, events_of, committed_sessions, dispatcher
):
    begun, release = threading.Event(), threading.Event()

    def executor(context, emit):
        begun.set()
        while not release.is_set():
            try:
                release.wait(0.01)
            except BaseException:  # noqa: BLE001, S112  # as stubborn as code can be
                continue
        return Succeeded(ANSWER)

    run, slot, join = start(executor)
    assert begun.wait(PATIENCE)
    cancel(committed_sessions, dispatcher, run)
    assert slot.abandoned.wait(PATIENCE)
    assert reload(run).status_detail["stopped_how"] == "abandoned"
    release.set()
    assert join() is Ending.ABANDONED
    assert reload(run).status is RunStatus.CANCELLED
    assert events_of(run)[-1].is_last


@pytest.mark.parametrize("is_on_thread", [False, True])
def test_a_run_that_is_deleted_while_it_runs_is_let_go(
    start, committed_sessions, dispatcher, factories, is_on_thread
):
    request = {}
    if is_on_thread:
        with unit_of_work(committed_sessions) as session:
            thread = threads.create(session, factories.default_principal(), {"name": "talk"})
            request["thread_id"] = thread.id
    begun, gone = threading.Event(), threading.Event()

    def executor(_context, _emit):
        begun.set()
        assert gone.wait(PATIENCE)
        return Succeeded(ANSWER)

    run, _, join = start(executor, **request)
    assert begun.wait(PATIENCE)
    owner = Principal(run.organization_id, run.created_by, run.id, "me")
    with unit_of_work(committed_sessions) as session:
        service.delete(session, dispatcher, owner, run.id)
    gone.set()
    assert join() in {Ending.LOST, Ending.CANCELLED}
    with committed_sessions() as session:
        assert session.get(Run, run.id) is None


def test_a_revoke_from_elsewhere_cancels_the_run(start, reload):
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        context.token.wait(PATIENCE)
        return Succeeded(ANSWER)

    run, slot, join = start(executor)
    assert begun.wait(PATIENCE)
    slot.token.cancel(StopReason.CANCELLED)
    assert join() is Ending.CANCELLED
    after = reload(run)
    assert (after.status, after.status_detail["stopped_how"]) == (RunStatus.CANCELLED, "cooperative")
    assert after.status_detail["requested_by"] == "an operator, through Celery"


def test_a_drained_run_goes_back_without_being_charged(start, reload):
    """Promise 6: a deploy neither fails a run nor burns an attempt."""
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()
        return Succeeded(ANSWER)

    run, slot, join = start(executor)
    assert begun.wait(PATIENCE)
    slot.token.cancel(StopReason.DRAINED)
    assert join() is Ending.REQUEUED
    after = reload(run)
    assert (after.status, after.attempt, after.losses) == (RunStatus.QUEUED, 1, 0)


@pytest.mark.parametrize("error", [ConnectionError("shut"), InvalidConfigurationError("no key")], ids=repr)
def test_an_error_after_the_request_to_stop_does_not_fail_a_drained_run(start, reload, error):
    """A connection that was shut on purpose raises in the executor."""
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        context.token.wait(PATIENCE)
        raise error

    run, slot, join = start(executor)
    assert begun.wait(PATIENCE)
    slot.token.cancel(StopReason.DRAINED)
    assert join() is Ending.REQUEUED
    assert reload(run).status is RunStatus.QUEUED


def test_a_program_whose_shim_died_after_the_request_to_stop_was_killed(start, reload):
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        context.token.wait(PATIENCE)
        raise PlatformError("The process that supervises the program died; the program was ended.")

    run, slot, join = start(executor)
    assert begun.wait(PATIENCE)
    slot.token.cancel(StopReason.CANCELLED)
    assert join() is Ending.CANCELLED
    assert reload(run).status_detail["stopped_how"] == "killed"


def test_a_run_that_takes_too_long_is_timed_out(resources, committed_settings, make_run, reload):
    short = worker_resources.make(
        committed_settings.model_copy(update={"max_duration": timedelta(milliseconds=300)})
    )

    def executor(context, emit):
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()
        return Succeeded(ANSWER)

    run = make_run()
    assert execute(short, run.id, 1, FakeSlot(), resolve=lambda *_: executor) is Ending.BROKEN
    short.close()
    after = reload(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, Reason.TIMED_OUT)


def test_a_run_that_takes_longer_than_it_says_itself_is_timed_out(
    resources, committed_sessions, make_run, reload
):
    def executor(context, emit):
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()
        return Succeeded(ANSWER)

    run = make_run()
    with committed_sessions.begin() as session:
        session.execute(update(Run).where(Run.id == run.id).values(max_duration=timedelta(milliseconds=300)))
    assert execute(resources, run.id, 1, FakeSlot(), resolve=lambda *_: executor) is Ending.BROKEN
    assert reload(run).status_detail["message"] == "The run took longer than it may: 0.3 s."


def test_a_worker_that_lost_its_run_can_write_nothing(start, reload, committed_sessions, events_of):
    """Promise 3: only one attempt can write."""
    begun = threading.Event()

    def executor(context, emit):
        begun.set()
        context.token.wait(PATIENCE)
        return Succeeded(ANSWER)

    run, _, join = start(executor)
    assert begun.wait(PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(attempt=2))
    count = len(events_of(run))
    assert join() is Ending.LOST
    after = reload(run)
    assert (after.status, after.attempt, after.output) == (RunStatus.RUNNING, 2, None)
    assert len(events_of(run)) == count


def test_an_outage_of_the_database_is_lived_through(start, reload, events_of, superuser_engine, resources):
    """The server ends every connection again and again while the assistant speaks."""
    begun, done = threading.Event(), threading.Event()

    def executor(context, emit):
        begun.set()
        for number in range(60):
            emit(say(f"{number} "))
            context.token.wait(0.01)
        done.set()
        return Succeeded(ANSWER)

    run, _, join = start(executor)
    assert begun.wait(PATIENCE)  # a claim that is cut off is the reconciler's
    kill = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    while not done.is_set():
        with superuser_engine.connect() as connection:
            connection.exec_driver_sql(kill)
        done.wait(0.05)
    assert join() is Ending.SUCCEEDED
    text = "".join(event.payload["token"] for event in events_of(run) if event.type == "TextChunkEvent")
    assert text.split() == [str(number) for number in range(60)]
    assert reload(run).status is RunStatus.SUCCEEDED


def test_what_a_model_says_is_always_storable(start, reload, events_of):
    def executor(context, emit):
        emit(say("nul \x00, half a pair \ud83d"))
        emit(ExecutorEvent("Odd", {"type": "Odd", "big": 2**80, "object": object(), "nan": float("nan")}))
        return Succeeded({**ANSWER, "value": "a\x00b\udc00"})

    run, _, join = start(executor)
    assert join() is Ending.SUCCEEDED
    assert reload(run).output["value"] == "a\ufffdb\ufffd"
    assert [event.type for event in events_of(run)].count("Odd") == 1


@pytest.fixture
def twice(resources, committed_sessions, make_run):
    """Execute a run whose first attempt is given back in the middle of its answer, and then its second."""

    def twice(first, second, **request):
        run = make_run(**request)
        slot = FakeSlot()

        def interrupted(context, emit):
            for event in first:
                emit(event)
            slot.token.cancel(StopReason.DRAINED)
            raise RunStopped

        def finishing(context, emit):
            for event in second:
                emit(event)
            return Succeeded(ANSWER)

        assert execute(resources, run.id, 1, slot, resolve=lambda *_: interrupted) is Ending.REQUEUED
        assert execute(resources, run.id, 2, FakeSlot(), resolve=lambda *_: finishing) is Ending.SUCCEEDED
        return run

    return twice


def text_of(events, *, known=("TextChunkEvent",)):
    return "".join(
        event.payload["token"]
        for event in events
        if event.type == "TextChunkEvent" and event.payload["type"] in known
    )


def test_an_attempt_that_says_the_same_again_is_not_read_twice(twice, events_of):
    words = [f"word{number} " for number in range(40)]
    run = twice([say("".join(words[:23]))], list(map(say, words)))
    events = events_of(run)
    assert text_of(events) == "".join(words)  # to a client that knows of no attempts
    last = [event for event in events if event.attempt == 2]
    assert text_of(last, known=("TextChunkEvent", "RepeatedTextChunkEvent")) == "".join(words)


def test_an_attempt_that_says_something_else_is_told_whole(twice, events_of):
    events = events_of(twice([say("The sky is bl")], [say("The sea"), say(" is deep")]))
    assert text_of(event for event in events if event.attempt == 2) == "The sea is deep"


def test_the_log_says_whose_each_event_is_and_when_all_before_it_is_given_up(twice, events_of):
    events = events_of(twice([say("Hi")], [say("Hi there")]))
    assert [(event.attempt, event.type.removeprefix("AssistantRun")) for event in events] == [
        (0, "Queued"),
        (1, "Starting"),
        (1, "Running"),
        (1, "TextChunkEvent"),
        (1, "Queued"),
        (2, "Starting"),
        (2, "Running"),
        (2, "TextChunkEvent"),
        (2, "TextChunkEvent"),
        (2, "FinishStructureRunEvent"),
        (2, "Completed"),
    ]
    assert [event.seq for event in events if event.payload.get("reset")] == [4]


def test_tokens_of_an_attempt_that_was_given_up_are_told_beside_the_answers(twice, reload):
    odd = ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "model": "m"})
    usage = reload(twice([used(3, 4), used(10, 1), odd], [used(5, 6)])).usage
    assert (usage["total_tokens"], usage["model_calls"]) == (11, 1)
    tokens = {"input_tokens": 13, "output_tokens": 5}
    assert usage["given_up"] == {**tokens, "total_tokens": 18, "model_calls": 3, "models": {"m": tokens}}


def test_numbers_of_tokens_that_make_no_sense_end_no_run(twice, reload):
    odd = [used(1e30, -5), used("seven", [7]), used(float("inf"), 2)]
    usage = reload(twice(odd, [*odd, used(5, 6)])).usage
    given_up = usage.pop("given_up")
    assert (usage["model_calls"], given_up["model_calls"]) == (4, 3)
    assert usage["output_tokens"] == 8
    assert given_up["output_tokens"] == 2
    assert usage["input_tokens"] >= MOST_TOKENS
    assert given_up["input_tokens"] >= MOST_TOKENS
