"""What a structure run's code reports: which Finish event is its answer, and what counts once."""

import uuid

import pytest

from shared.db import unit_of_work
from shared.errors import InvalidRequestError
from shared.events import log
from shared.lifecycle import RunStatus, Trigger
from shared.models import Run
from shared.runs import moves, transitions
from shared.structures import reports
from shared.structures.answers import find_refused
from shared.structures.reports import (
    MAX_REFUSED,
    Report,
    note_refused,
    page_of_spans,
    post_events,
    post_spans,
)
from shared.structures.runs import judge_exit
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER

SPANS = [{"span_id": str(number)} for number in range(4)]

LARGEST = 100_000
AT_THE_MOST = "that it may have at the most (RUNYARD_STRUCTURE_OUTPUT)."

OUTER, INNER = "outer", "inner"


def start(structure_id):
    return Report("StartStructureRunEvent", {"id": uuid.uuid4().hex, "structure_id": structure_id})


def finish(structure_id, value, *, identifier=None):
    artifact = {"type": "TextArtifact", "value": value}
    payload = {"id": identifier or uuid.uuid4().hex, "output_task_output": artifact}
    return Report(
        "FinishStructureRunEvent", payload | ({"structure_id": structure_id} if structure_id else {})
    )


@pytest.fixture
def post(sessions, dispatcher, factories):
    """Report events of a run, one request each, and return the run after them."""

    def post(run, *reports):
        for report in reports:
            with unit_of_work(sessions) as session:
                batch = report if isinstance(report, list) else [report]
                post_events(
                    session, dispatcher, factories.default_principal(), run.id, batch, largest=LARGEST
                )
        with sessions() as session:
            return session.get_one(Run, run.id)

    return post


@pytest.fixture
def external(factories):
    return factories.structure_run(is_external=True)


@pytest.fixture
def managed(factories):
    return factories.structure_run(status=RunStatus.RUNNING)


def answer(run):
    return run.status, run.output and run.output["value"]


def test_what_runs_inside_does_not_end_an_external_run(external, post):
    run = post(external, start(OUTER), start(INNER), finish(INNER, "in"), Report("TextChunkEvent"))
    assert answer(run) == (RunStatus.RUNNING, "in")
    assert answer(post(run, finish(OUTER, "out"))) == (RunStatus.SUCCEEDED, "out")


def test_in_one_batch_too(external, post):
    batch = [start(OUTER), start(INNER), finish(INNER, "in"), finish(OUTER, "out"), finish(INNER, "late")]
    assert answer(post(external, batch)) == (RunStatus.SUCCEEDED, "out")


@pytest.mark.parametrize(
    "reports",
    [[finish(INNER, "any")], [start(None), finish(INNER, "any")], [start(OUTER), finish(None, "any")]],
)
def test_a_finish_event_that_nothing_tells_from_the_runs_own_ends_it(external, post, reports):
    assert answer(post(external, *reports)) == (RunStatus.SUCCEEDED, "any")


def test_the_output_of_a_managed_run_is_its_own_structures(managed, post):
    run = post(managed, start(OUTER), start(INNER), finish(INNER, "in"))
    assert answer(run) == (RunStatus.RUNNING, "in")
    assert answer(post(run, finish(OUTER, "out"))) == (RunStatus.RUNNING, "out")
    assert answer(post(run, start(INNER), finish(INNER, "late"))) == (RunStatus.RUNNING, "out")
    assert answer(post(run, finish(OUTER, "again"))) == (RunStatus.RUNNING, "again")


@pytest.fixture
def begin_again(sessions):
    """Lose a run's attempt, and begin the next."""

    def begin_again(run):
        with unit_of_work(sessions) as session:
            transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
            moves.claim(session, RecordingDispatcher(), run.id, attempt=2, worker=WORKER, lease_ttl=LEASE)
            return transitions.apply(session, run.id, Trigger.START, attempt=2).run

    return begin_again


def test_each_attempt_has_a_structure_of_its_own(managed, post, begin_again):
    post(managed, start("first"))
    run = begin_again(managed)
    assert answer(post(run, start("second"), finish("second", "out"), finish("third", "in"))) == (
        RunStatus.RUNNING,
        "out",
    )


def test_what_one_attempt_sent_is_new_from_another(managed, post, begin_again, sessions):
    """A program with ids of its own making sends the same ones when it is begun again."""
    said = finish(OUTER, "out", identifier="fixed")
    assert answer(post(managed, said, said)) == (RunStatus.RUNNING, "out")
    run = begin_again(managed)
    assert answer(run) == (RunStatus.RUNNING, None)
    assert answer(post(run, said, said)) == (RunStatus.RUNNING, "out")
    with sessions() as session:
        events = log.read(session, run.id, start=0, limit=100).events
    assert [event.type for event in events].count("FinishStructureRunEvent") == 2


@pytest.fixture
def post_some_spans(sessions, factories, external, monkeypatch):
    """Report spans of a run, of which three are the most, and return what it has after them."""
    monkeypatch.setattr(reports, "MAX_SPANS", 3)

    def post_some_spans(spans):
        with unit_of_work(sessions) as session:
            post_spans(session, factories.default_principal(), external.id, spans)
            kept = page_of_spans(session, external.id, offset=0, limit=100)
            assert kept.total == len(kept.spans)
            return kept.spans

    return post_some_spans


def test_spans_that_are_sent_again_take_up_no_room(post_some_spans):
    """Nor is a batch refused that was stored, and whose answer was lost."""
    assert post_some_spans(SPANS[:3]) == SPANS[:3]
    assert post_some_spans(SPANS[:3]) == SPANS[:3]
    assert post_some_spans([SPANS[2]] * 4) == SPANS[:3]
    with pytest.raises(InvalidRequestError, match="3 spans at the most"):
        post_some_spans(SPANS[2:])


def test_a_span_that_is_twice_in_a_batch_counts_once(post_some_spans):
    assert post_some_spans([SPANS[0], SPANS[1], SPANS[0], SPANS[2]]) == SPANS[:3]


def large(structure_id=OUTER, *, identifier=None):
    return finish(structure_id, "x" * (LARGEST + 1), identifier=identifier)


@pytest.fixture
def report(sessions, dispatcher, factories):
    """Report events of a run, and return what of them was too large."""

    def report(run, *batch):
        with unit_of_work(sessions) as session:
            who = factories.default_principal()
            return post_events(session, dispatcher, who, run.id, list(batch), largest=LARGEST)

    return report


@pytest.fixture
def read(sessions):
    def read(run):
        with sessions() as session:
            return session.get_one(Run, run.id)

    return read


@pytest.fixture
def end(sessions, dispatcher):
    """End a run with the exit of its program."""

    def end(run, exit_code=0):
        with unit_of_work(sessions) as session:
            succeeds, detail = judge_exit(session, run.id, exit_code=exit_code, message="It ended.")
            move = moves.succeed if succeeds else moves.fail
            move(session, dispatcher, run.id, attempt=run.attempt, detail=detail)

    return end


def test_an_output_of_the_largest_size_is_kept(report, managed, read):
    assert report(managed, start(OUTER), finish(OUTER, "é" * (LARGEST // 2))) is None
    assert read(managed).output["value"] == "é" * (LARGEST // 2)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_an_output_that_is_too_large_fails_the_run_whatever_its_exit_code(
    report, managed, read, end, exit_code
):
    refusal = report(managed, start(OUTER), large())
    assert refusal == f"The output has 100001 bytes, of the {LARGEST} {AT_THE_MOST}"
    end(managed, exit_code)
    after = read(managed)
    assert after.status == RunStatus.FAILED
    assert after.status_detail["reason"] == "OutputTooLarge"
    assert after.status_detail["message"] == refusal
    assert after.output["value"] == refusal


def test_an_output_that_is_too_large_is_refused_again_when_it_is_sent_again(report, managed):
    batch = [start(OUTER), large(identifier="1")]
    assert report(managed, *batch) == report(managed, *batch)


def test_a_smaller_output_after_one_that_was_too_large_counts(report, managed, read, end):
    report(managed, start(OUTER), large())
    report(managed, finish(OUTER, "short"))
    end(managed)
    after = read(managed)
    assert (answer(after), after.status_detail["reason"]) == ((RunStatus.SUCCEEDED, "short"), "Completed")


def test_an_external_run_ends_with_an_output_that_is_too_large(report, external, read):
    report(external, start(OUTER), large())
    after = read(external)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.FAILED, "OutputTooLarge")


def test_another_event_that_is_too_large_is_left_out_and_named(report, managed, read, end):
    refusal = report(managed, start(OUTER), Report("Big", {"x": "x" * LARGEST}), finish(OUTER, "short"))
    assert refusal.startswith("An event of the type Big has 1000")
    end(managed)
    after = read(managed)
    assert answer(after) == (RunStatus.SUCCEEDED, "short")
    assert after.status_detail["refused_reports"] == [refusal]


def test_refusals_are_told_of_in_the_log_only_so_often(report, managed, sessions):
    for number in range(MAX_REFUSED + 5):
        report(managed, Report(f"Big{number}", {"x": "x" * LARGEST}))
    with sessions() as session:
        assert len(find_refused(session, managed.id)) == MAX_REFUSED


@pytest.mark.parametrize(("has_events", "status"), [(True, RunStatus.FAILED), (False, RunStatus.SUCCEEDED)])
def test_a_report_that_was_refused_unread_may_have_held_the_output(
    managed, read, end, sessions, dispatcher, factories, has_events, status
):
    with unit_of_work(sessions) as session:
        who = factories.default_principal()
        note_refused(session, dispatcher, who, managed.id, "Too large.", has_events=has_events)
    end(managed)
    after = read(managed)
    assert after.status == status
    assert (after.status_detail["reason"] == "OutputTooLarge") == has_events
    assert after.status_detail["refused_reports"] == ["Too large."]
