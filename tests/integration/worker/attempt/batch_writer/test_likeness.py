"""A run of a batch is begun, recorded and ended as it would be alone."""

import threading

import pytest

from shared.lifecycle import RunStatus
from tests.support.batched_runs import (
    ANSWER,
    PATIENCE,
    SELDOM,
    Speaking,
    check_whole,
    let_die,
    masked,
    numbers_of,
    say,
)
from tests.support.waiting import wait_until
from worker.attempt.conclusion import Ending
from worker.executors.base import ExecutorEvent, Failed, InvalidConfigurationError, PlatformError, Succeeded

ODD = [
    {},
    {"text": "a\x00b", "\x00key": [None, True, 1.5]},
    {"half": "\ud800 and \udfff", "whole": "\U0001f600"},
    {"huge": 10**40, "unsigned": 2**64 - 1, "negative": -(2**63), "most": 1.7976931348623157e308},
    {"infinite": float("inf"), "none": float("nan"), "tiny": 5e-324, "exact": 0.1 + 0.2},
    {"nested": {"a": [[[{"b": {}}]], []]}, "unknown": object},
    {"quotes": "'\"\\%s %(a)s :b $1 \u2028", "number": "1e400"},
]


def succeed(_context, emit):
    for payload in ODD:
        emit(ExecutorEvent("Odd", payload))
    counts = {"input_token_count": 3, "output_token_count": 4}
    emit(ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "model": "m", **counts}))
    return Succeeded({**ANSWER, "value": "a\x00\ud800", "meta": {"huge": 10**40}}, message="a\x00b")


def succeed_without_events(_context, _emit):
    return Succeeded(ANSWER)


def succeed_without_output(_context, emit):
    emit(say(0))
    return Succeeded(None)


def fail(_context, emit):
    emit(say(0))
    return Failed("No.\x00", detail={"odd": "\ud800"})


def raise_error(_context, emit):
    emit(say(0))
    raise ValueError("odd\x00")


def break_(_context, emit):
    emit(say(0))
    raise PlatformError("The platform broke.")


def be_misconfigured(_context, _emit):
    raise InvalidConfigurationError("There is no such model.")


def return_nonsense(_context, emit):
    emit(say(0))
    return "done"


def seen_of(run, events, sent):
    """All that anybody sees of a run, but for ids and times."""
    columns = ("status", "status_detail", "usage", "output", "stored_bytes", "event_count", "log_count")
    columns += ("worker", "process", "attempt", "losses", "is_stopping", "lease_expires_at", "dispatch_count")
    stored = [(one.seq, one.origin, one.type, masked(one.payload, run), one.attempt) for one in events]
    told = [one for one in sent.told if str(run.id) in one.fields["uuid"]]
    return {
        "row": {name: masked(getattr(run, name), run) for name in columns},
        "times": [run.started_at is None, run.completed_at is None, run.started_at <= run.completed_at],
        "is touched": run.updated_at >= run.completed_at,
        "stored": stored,
        "sizes": [one.size for one in events if one.type != "FinishStructureRunEvent"],
        "published": [one for one in sent.announced if one.run_id == run.id] == events,
        "told": [(one.type, one.worker, masked(dict(one.fields), run)) for one in told],
    }


@pytest.mark.parametrize(
    "executor",
    [
        succeed,
        succeed_without_events,
        succeed_without_output,
        fail,
        raise_error,
        break_,
        be_misconfigured,
        return_nonsense,
    ],
)
@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_a_run_of_a_batch_is_as_if_it_were_alone(start, resources, reload, events_of, ticks, executor):
    def seen():
        one = start(executor)
        one.join()
        after = wait_until(lambda: (run := reload(one.run)).completed_at and run, timeout=PATIENCE)
        return one.ending, seen_of(after, events_of(one.run), resources.dispatcher)

    ending, together = seen()
    assert [len(tick["begins"]) for tick in ticks if tick["begins"]] == [1]
    let_die(resources.batches)
    number = len(ticks)
    alone = seen()
    for what, value in together.items():
        assert value == alone[1][what], what
    assert ending is alone[0]
    assert len(ticks) == number


def test_a_run_that_begins_in_a_batch_is_held_as_if_it_were_alone(start, resources, reload):
    def seen():
        go_on = threading.Event()

        def executor(_context, _emit):
            assert go_on.wait(PATIENCE)
            return Succeeded(ANSWER)

        one = start(executor)
        run = wait_until(
            lambda: (run := reload(one.run)).status is RunStatus.RUNNING and run, timeout=PATIENCE
        )
        lease = run.lease_expires_at - run.started_at
        go_on.set()
        one.join()
        return run.attempt, run.worker, run.process, run.losses, round(lease.total_seconds())

    together = seen()
    let_die(resources.batches)
    assert together == seen()


@pytest.mark.parametrize(("is_by_api", "words"), [(True, [0]), (False, [0, 1])], ids=["api", "revoke"])
@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_a_cancelled_run_of_a_batch_stops_as_if_it_were_alone(
    start, resources, reload, events_of, ticks, cancel_all, is_by_api, words
):
    """By the API the log has ended with the cancel; by a revoke what was said before is stored."""

    def seen():
        speaking = Speaking()
        one = start(speaking)
        speaking.go_on([one.run], events_of)
        cancel_all([one], is_by_api=is_by_api)
        ending = one.join()
        run, events = reload(one.run), events_of(one.run)
        check_whole(events, numbers_of(events))
        assert run.status_detail["stopped_at"] >= run.status_detail["requested_at"]
        what = seen_of(run, events, resources.dispatcher)
        for name in ("event_count", "stored_bytes"):  # without a batch the second word is stored at once
            del what["row"][name]
        return ending, {name: what[name] for name in ("row", "times", "is touched", "told")}, events

    ending, together, events = seen()
    assert ending is Ending.CANCELLED
    assert numbers_of(events) == words
    assert [tick for tick in ticks if tick["stops"]]
    let_die(resources.batches)
    alone = seen()
    assert (ending, together) == alone[:2]
