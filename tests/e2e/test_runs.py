"""Runs on the real stack: created over HTTP, executed by a worker process, followed over SSE."""

import signal
import threading
import time
import uuid

import psutil
import pytest

from shared.celery_app import make_celery
from shared.settings import Settings
from tests.support.stack import event_of
from tests.support.waiting import wait_until

AT_ONCE = 10.0  # seconds, on a machine however busy; what it must not wait for takes minutes

pytestmark = pytest.mark.timeout(300)


def types(frames):
    return [event_of(frame)["type"] for frame in frames]


def tokens(frames):
    events = [event_of(frame) for frame in frames]
    return "".join(event["payload"]["token"] for event in events if event["type"] == "TextChunkEvent")


def test_a_run_goes_from_post_to_answer(stack):
    run_id = stack.create_run(args=["All this happened, more or less."])
    frames = list(stack.frames(run_id))
    run = stack.run(run_id)
    assert run["status"] == "SUCCEEDED"
    assert "All this happened, more or less." in run["output"]["value"]
    assert types(frames)[:3] == ["AssistantRunQueued", "AssistantRunStarting", "AssistantRunRunning"]
    assert types(frames)[-2:] == ["FinishStructureRunEvent", "AssistantRunCompleted"]
    assert tokens(frames).split() == run["output"]["value"].split()


def test_a_model_is_reached_through_its_provider(stack, llm):
    run_id = stack.create_run(args=["Hi"], model="openai/words-20-5")
    run = stack.wait_for(run_id)
    assert run["status"] == "SUCCEEDED"
    assert run["output"]["value"].split() == [f"word{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        ("openai/status-500", "FAILED", "ModelFailed"),
        ("openai/status-401", "ERROR", "InvalidConfiguration"),
        ("openai/close-midstream", "FAILED", "ModelFailed"),
        ("openai/garbage", "FAILED", "ModelFailed"),
        ("nobody/knows", "ERROR", "InvalidConfiguration"),
    ],
)
def test_a_provider_that_fails_ends_the_run_readably(stack, model, status, reason):
    run = stack.wait_for(stack.create_run(args=["Hi"], model=model), timeout=60)
    assert (run["status"], run["status_detail"]["reason"]) == (status, reason)
    assert run["status_detail"]["message"]
    assert "Traceback" not in run["status_detail"]["message"]
    assert "sk-stub" not in str(run)


def test_every_reader_of_a_run_sees_the_same_bytes(stack):
    """Promise 4: live, late or resumed."""
    run_id = stack.create_run(args=["Hi"], model="openai/words-60-20")
    live = list(stack.frames(run_id))
    late = list(stack.frames(run_id))
    resumed = []
    while not resumed or "AssistantRunCompleted" not in types(resumed[-1:]):
        after = len(resumed) - 1 if resumed else None
        for _, frame in zip(range(3), stack.frames(run_id, after=after), strict=False):
            resumed.append(frame)
    assert live == late == resumed
    assert tokens(live).split() == [f"word{n}" for n in range(60)]


def test_a_reader_that_reconnects_in_the_middle_misses_nothing(stack):
    run_id = stack.create_run(args=["Hi"], model="openai/words-40-150")
    first = []
    for frame in stack.frames(run_id):
        first.append(frame)
        if len(tokens(first).split()) >= 5:
            break
    assert stack.run(run_id)["status"] == "RUNNING"
    rest = list(stack.frames(run_id, after=len(first) - 1))
    assert tokens(first + rest).split() == [f"word{n}" for n in range(40)]


def test_chunks_arrive_before_the_model_has_finished(stack):
    run_id = stack.create_run(args=["Hi"], model="openai/words-30-200")
    for frame in stack.frames(run_id):
        if event_of(frame)["type"] == "TextChunkEvent":
            assert stack.run(run_id)["status"] == "RUNNING"
            break
    else:
        pytest.fail("no chunk arrived")


@pytest.fixture
def hanging_run(stack, llm):
    """A run whose model has its request and answers nothing.

    Before the request is sent the code may still be loading the provider's library, and a cancel
    would rightly say that it was interrupted.
    """
    marker = f"hang on, {uuid.uuid4()}"
    run_id = stack.create_run(args=[marker], model="openai/hang")
    assert llm.records.wait_for(lambda records: marker in str(records.requests), 30)
    assert stack.run(run_id)["status"] == "RUNNING"
    return run_id


def test_a_cancel_while_the_model_hangs_is_true(stack, llm, hanging_run):
    """Promise 5: CANCELLED when answered; the code stops within the grace; the receipt says how."""
    run_id = hanging_run
    left = llm.records.left_early
    started = time.monotonic()
    assert stack.cancel(run_id)["status"] == "CANCELLED"
    assert time.monotonic() - started < AT_ONCE
    run = wait_until(
        lambda: (run := stack.run(run_id))["status_detail"]["stopped_how"] and run, what="the receipt"
    )
    assert run["status_detail"]["stopped_how"] == "cooperative"
    assert run["status_detail"]["requested_by"]
    assert llm.records.wait_for(lambda records: records.left_early > left)
    assert types(stack.frames(run_id))[-2:] == ["FinishStructureRunEvent", "AssistantRunCompleted"]


def test_a_cancel_in_the_middle_of_an_answer_ends_the_stream(stack):
    run_id = stack.create_run(args=["Hi"], model="openai/words-1000-50")
    frames = []
    for frame in stack.frames(run_id):
        frames.append(frame)
        if event_of(frame)["type"] == "TextChunkEvent" and len(frames) < 12:
            stack.cancel(run_id)
    assert types(frames)[-1] == "AssistantRunCompleted"
    assert event_of(frames[-1])["payload"]["status"] == "CANCELLED"
    again = stack.cancel(run_id)
    assert again["status"] == "CANCELLED"


def test_a_cancel_of_a_finished_run_changes_nothing(stack):
    run_id = stack.create_run(args=["Hi"])
    finished = stack.wait_for(run_id)
    assert stack.cancel(run_id) == finished


@pytest.fixture
def celery(stack):
    settings = Settings(database_url=stack.file["database_url"], redis_url=stack.file["redis_url"])
    return make_celery(settings)


def test_a_celery_revoke_cancels_the_run(stack, celery, hanging_run):
    run_id = hanging_run
    celery.control.revoke(f"{run_id}.1", terminate=True)
    run = stack.wait_for(run_id, timeout=60)
    assert (run["status"], run["status_detail"]["reason"]) == ("CANCELLED", "Cancelled")
    wait_until(lambda: stack.run(run_id)["status_detail"]["stopped_how"] == "cooperative")


def test_flower_shows_a_run_and_its_button_cancels_it(stack, hanging_run):
    run_id = hanging_run
    task_id = f"{run_id}.1"

    def shown():
        answer = stack.flower("GET", f"/api/task/info/{task_id}")
        return answer.json() if answer.status_code == 200 and answer.json()["state"] == "STARTED" else None

    task = wait_until(shown, timeout=60, pause=0.2, what="Flower to show the run")
    assert run_id in task["kwargs"]
    assert stack.flower("POST", f"/api/task/revoke/{task_id}?terminate=true").status_code == 200
    assert stack.wait_for(run_id, timeout=60)["status"] == "CANCELLED"
    wait_until(lambda: stack.run(run_id)["status_detail"]["stopped_how"] == "cooperative")


def test_a_sigkilled_worker_costs_its_runs_an_end_and_others_nothing(stack):
    """Promise 3: a run lost while RUNNING is not repeated unasked; the next run finds a worker."""
    doomed = stack.create_run(args=["Hi"], model="openai/hang")
    stack.wait_for(doomed, "RUNNING")
    victims = stack.children("worker")
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=30)
    run = stack.wait_for(doomed, timeout=60)
    assert (run["status"], run["status_detail"]["reason"]) == ("ERROR", "WorkerLost")
    assert types(stack.frames(doomed))[-3:] == [
        "FinishStructureRunEvent",
        "AssistantRunError",
        "AssistantRunCompleted",
    ]
    assert stack.wait_for(stack.create_run(args=["Next"]), timeout=60)["status"] == "SUCCEEDED"


def test_an_accepted_run_is_never_lost_even_if_redis_is_down(stack):
    """Promise 1: accepted while Redis is dead, executed once it is back."""
    psutil.Process(stack.file["pids"]["redis"]).send_signal(signal.SIGKILL)
    started = time.monotonic()
    run_ids = [stack.create_run(args=[f"number {n}"]) for n in range(3)]
    assert time.monotonic() - started < AT_ONCE
    for run_id in run_ids:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"


def test_many_runs_at_once_all_succeed(stack):
    assistant_id = stack.create_assistant()
    run_ids = []

    def create(number):
        run_ids.append(stack.create_run(assistant_id, args=[f"run {number}"]))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(run_ids)) == 30
    assert {stack.wait_for(run_id, timeout=60)["status"] for run_id in run_ids} == {"SUCCEEDED"}


def test_an_unknown_run_is_a_404_in_the_dialects_shape(stack):
    answer = stack.client.get(f"/api/assistant-runs/{uuid.uuid4()}/events/stream")
    assert answer.status_code == 404
    assert answer.json()["errors"]
