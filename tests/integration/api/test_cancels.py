"""Cancels at one moment: done together, answered each by itself, and none in another's way."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus, StatusDetail
from shared.models import Run
from shared.runs import moves, service
from tests.support.dispatching import RecordingDispatcher
from tests.support.locks import waiting_for_locks
from tests.support.waiting import wait_until

CANCEL = {"griptape": "/api/assistant-runs/{}/cancel", "watsonx": "/api/v1/orchestrate/runs/cancel/{}"}


@pytest.fixture
def together(monkeypatch):
    """How many runs each transaction was to cancel; the first waits until it may go on."""
    sizes, go_on = [], threading.Event()
    cancel = service.cancel_together

    def counting(session, dispatcher, cancels):
        sizes.append(len(cancels))
        assert len(sizes) > 1 or go_on.wait(60)
        return cancel(session, dispatcher, cancels)

    monkeypatch.setattr(service, "cancel_together", counting)
    return sizes, go_on


def cancel_all(served, together, paths):
    """POST to paths while a first cancel is under way; their answers, in order."""
    sizes, go_on = together
    first, *others = paths
    with ThreadPoolExecutor(len(paths)) as callers:
        asked = [callers.submit(served.client.post, first)]
        wait_until(lambda: sizes, what="the first cancel to begin")
        asked += [callers.submit(served.client.post, path) for path in others]
        queue = served.resources.cancels._batches._waiting
        wait_until(lambda: len(queue) == len(others), what="the others to wait")
        go_on.set()
        return [one.result() for one in asked]


def test_cancels_of_one_moment_are_done_together_and_answered_each_by_itself(
    served, together, make_run, committed_sessions
):
    runs = [make_run(status=status) for status in (RunStatus.RUNNING, RunStatus.QUEUED) for _ in range(4)]
    ended = make_run(status=RunStatus.SUCCEEDED)
    unknown = uuid.uuid4()
    paths = [CANCEL[name].format(run.id) for run, name in zip(runs, [*CANCEL] * 4, strict=True)]
    answers = cancel_all(
        served, together, [*paths, CANCEL["griptape"].format(ended.id), CANCEL["griptape"].format(unknown)]
    )
    assert [answer.status_code for answer in answers] == [200] * 9 + [404]
    shown = [answer.json().get("assistant_run_id") or answer.json().get("run_id") for answer in answers[:9]]
    assert shown == [str(run.id) for run in [*runs, ended]]
    assert answers[8].json()["status"] == "SUCCEEDED"
    sizes, _ = together
    assert sizes == [1, 9]
    with committed_sessions() as session:
        found = {session.get_one(Run, run.id).status for run in runs}
    assert found == {RunStatus.CANCELLED}


def test_a_run_that_cannot_be_cancelled_spoils_no_other(served, together, make_run, monkeypatch):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(4)]
    cancel = service.cancel_together

    def poisoned(session, dispatcher, cancels):
        found = cancel(session, dispatcher, cancels)
        if len(cancels) > 1:
            session.execute(text("SELECT 1 / 0"))
        return found

    monkeypatch.setattr(service, "cancel_together", poisoned)
    answers = cancel_all(served, together, [CANCEL["griptape"].format(run.id) for run in runs])
    assert [answer.json()["status"] for answer in answers] == ["CANCELLED"] * 4
    details = [answer.json()["status_detail"] for answer in answers]
    assert {detail["stopped_how"] for detail in details} == {None}


def test_cancels_of_an_outage_are_refused_for_a_moment(served, make_run, monkeypatch):
    run = make_run(status=RunStatus.RUNNING)

    def away(*_):
        raise OperationalError("UPDATE", {}, ConnectionError("away"), connection_invalidated=True)

    with monkeypatch.context() as patched:
        patched.setattr(service, "cancel_together", away)
        answer = served.client.post(CANCEL["griptape"].format(run.id))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    assert served.client.post(CANCEL["griptape"].format(run.id)).json()["status"] == "CANCELLED"


def test_a_run_that_somebody_holds_is_cancelled_when_it_is_free(served, make_run, committed_sessions):
    run = make_run(status=RunStatus.RUNNING)
    with ThreadPoolExecutor(1) as callers:
        with unit_of_work(committed_sessions) as session:
            session.execute(text("SELECT 1 FROM runs WHERE id = :id FOR UPDATE"), {"id": run.id})
            asked = callers.submit(served.client.post, CANCEL["griptape"].format(run.id))
            cancels = served.resources.lanes.cancels
            wait_until(lambda: cancels._used, what="it to be cancelled by itself")
        assert asked.result().json()["status"] == "CANCELLED"


def test_a_cancel_at_the_moment_of_the_end_tells_the_end(served, make_run, committed_sessions):
    """Promise 5: the run ends after the cancel has come, and before it could take hold."""
    run = make_run(status=RunStatus.RUNNING)
    detail = StatusDetail(Reason.COMPLETED, "It is done.")
    with ThreadPoolExecutor(1) as callers:
        with unit_of_work(committed_sessions) as session:
            moves.succeed(session, RecordingDispatcher(), run.id, attempt=1, detail=detail, output="Hi")
            asked = callers.submit(served.client.post, CANCEL["griptape"].format(run.id))
            wait_until(lambda: waiting_for_locks(committed_sessions), what="the cancel to wait for the end")
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "SUCCEEDED"
    assert answer.json()["status_detail"]["reason"] == "Completed"


def test_the_log_line_of_a_cancel_names_the_run(served, together, make_run, request_lines):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    ended = make_run(status=RunStatus.SUCCEEDED)
    paths = [CANCEL["griptape"].format(run.id) for run in (*runs, ended)]
    cancel_all(served, together, paths)
    wait_until(lambda: len(request_lines) == len(paths), what="a line for each")
    assert {line["path"]: line.get("run_id") for line in request_lines} == {
        path: str(run.id) for path, run in zip(paths, (*runs, ended), strict=True)
    }
