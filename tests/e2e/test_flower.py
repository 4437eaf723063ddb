"""What Flower shows is what is so: a task ends as its run, and who is gone goes from it."""

import ast
import base64
import json
from functools import partial
from urllib.parse import urlencode

import pytest
import redis

from cli.commands.drain import Workers
from shared.celery_app import make_celery
from shared.dispatch.dispatcher import EXECUTE_RUN
from shared.settings import Settings
from tests.support.faults import go_on_for
from tests.support.stack import environment, running_stack
from tests.support.waiting import wait_until
from tests.support.workers import running_worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

SLOTS = 2


@pytest.fixture(scope="module")
def env(llm):
    return environment(
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        RUNYARD_MODEL="openai/words-3-0",
        RUNYARD_FLOWER_FORGET_AFTER="2",
        RUNYARD_REPUBLISH_AFTER="0.5",
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory, env):
    """A stack whose worker has few places."""
    options = ("--concurrency", str(SLOTS))
    with running_stack(tmp_path_factory.mktemp("flower") / "stack", *options, env=env) as running:
        wait_until(
            lambda: running.flower("GET", "/api/workers?status=1").json(), timeout=60, what="Flower to listen"
        )
        yield running


@pytest.fixture
def celery(stack):
    settings = Settings(database_url=stack.file["database_url"], redis_url=stack.file["redis_url"])
    with make_celery(settings) as app:
        yield app


def find_task(stack, run_id, attempt=1):
    answer = stack.flower("GET", f"/api/task/info/{run_id}.{attempt}")
    return answer.json() if answer.status_code == 200 else None


def shown(stack, run_id, state, attempt=1):
    """What Flower shows of an attempt, once that is in this state."""

    def look():
        task = find_task(stack, run_id, attempt)
        return task if task and task["state"] == state else None

    return wait_until(look, timeout=60, pause=0.1, what=f"Flower to show {run_id}.{attempt} as {state}")


def told_of(stack):
    """What Flower has been told of each worker."""
    return {one["hostname"]: one for one in stack.flower("GET", "/workers?json=1").json()["data"]}


def depth(stack):
    queues = stack.flower("GET", "/api/queues/length").json()["active_queues"]
    return sum(queue["messages"] for queue in queues)


@pytest.fixture
def full(stack):
    """Runs that take up every place until they are cancelled."""
    runs = [stack.create_run(args=["Hang on"], model="openai/hang") for _ in range(SLOTS)]
    for run_id in runs:
        stack.wait_for(run_id, "RUNNING")
    yield runs
    for run_id in runs:
        stack.cancel(run_id)


@pytest.mark.parametrize(
    ("model", "status", "state", "said"),
    [
        ("openai/words-3-0", "SUCCEEDED", "SUCCESS", {"result": "SUCCEEDED: Completed"}),
        ("openai/garbage", "FAILED", "FAILURE", {"exception": "FAILED: ModelFailed"}),
        ("nobody/knows", "ERROR", "FAILURE", {"exception": "ERROR: InvalidConfiguration"}),
    ],
)
def test_a_task_ends_as_its_run(stack, model, status, state, said):
    run_id = stack.create_run(args=["A word that nobody else is to read"], model=model)
    assert stack.wait_for(run_id, timeout=60)["status"] == status
    task = shown(stack, run_id, state)
    assert {name: task[name] for name in said} == said
    assert run_id in task["kwargs"]
    everything = stack.flower("GET", "/api/tasks").text + stack.flower("GET", f"/task/{run_id}.1").text
    assert "nobody else is to read" not in everything
    assert "sk-stub" not in everything


def found(stack, search):
    """The ids of the tasks that Flower's page finds."""
    asked = {"draw": 1, "start": 0, "length": 100, "search[value]": search, "order[0][column]": 0}
    answer = stack.flower("GET", f"/tasks/datatable?{urlencode(asked)}")
    assert "searchError" not in answer.json(), answer.text
    return [task["uuid"] for task in answer.json()["data"]]


def test_a_task_is_found_by_its_run_its_assistant_and_its_organization(stack):
    assistant_id = stack.create_assistant()
    run_id = stack.create_run(assistant_id, args=["A word that nobody else is to read"])
    shown(stack, run_id, "SUCCESS")
    task_id = f"{run_id}.1"
    organization_id = ast.literal_eval(find_task(stack, run_id)["kwargs"])["organization_id"]
    assert stack.client.get(f"/api/organizations/{organization_id}").status_code == 200
    for search in (run_id, assistant_id, f"kwargs:run_id={run_id}", f"kwargs:assistant_id={assistant_id}"):
        assert found(stack, search) == [task_id], search
    assert task_id in found(stack, f"kwargs:organization_id={organization_id}")
    assert found(stack, '"nobody else is to read"') == []


def test_a_run_that_is_cancelled_is_revoked_whether_or_not_it_had_begun(stack, full):
    waiting = stack.create_run(args=["Hi"])
    assert shown(stack, waiting, "PENDING")
    stack.cancel(waiting)
    assert shown(stack, waiting, "REVOKED")["worker"] == "(no worker)"
    assert "(no worker)" not in told_of(stack)
    stack.cancel(full[0])
    assert shown(stack, full[0], "REVOKED")["worker"] in told_of(stack)


def test_a_second_message_changes_nothing(stack, celery, full):
    before = shown(stack, full[0], "STARTED")
    ended = stack.create_run(args=["Hi"])
    stack.cancel(full[1])
    stack.wait_for(ended)
    end = shown(stack, ended, "SUCCESS")
    worker = end["worker"]
    succeeded = told_of(stack)[worker]["task-succeeded"]
    for run_id in (full[0], ended):
        celery.send_task(
            EXECUTE_RUN, kwargs={"run_id": run_id, "attempt": 1}, task_id=f"{run_id}.1", queue="runs"
        )
    later = stack.create_run(args=["Hi"])
    stack.wait_for(later)
    shown(stack, later, "SUCCESS")

    for earlier in (before, end):
        now = find_task(stack, earlier["uuid"].partition(".")[0])
        assert {key: now[key] for key in ("state", "worker", "received", "started")} == {
            key: earlier[key] for key in ("state", "worker", "received", "started")
        }
    assert told_of(stack)[worker]["task-succeeded"] == succeeded + 1


def test_the_depth_is_the_number_of_runs_that_wait(stack, full):
    waiting = [stack.create_run(args=["Hi"]) for _ in range(5)]
    metric = 'runyard_runs_waiting{queue="runs"} 5.0'
    wait_until(lambda: depth(stack) == len(waiting), timeout=60, what="the messages to wait")
    go_on_for(2.5)  # rounds of the reconciler, each of which would have sent them again
    wait_until(
        lambda: metric in stack.flower("GET", "/metrics").text, timeout=60, what="Flower to tell of demand"
    )
    assert depth(stack) == len(waiting)
    for run_id in full:
        stack.cancel(run_id)
    for run_id in waiting:
        stack.wait_for(run_id)


def test_a_worker_that_is_killed_goes_from_flower_and_its_task_with_it(stack, full, env, tmp_path):
    with running_worker(stack, tmp_path / "worker.log", "--concurrency=1", "--name=doomed", env=env):
        doomed = stack.create_run(args=["Hi"], model="openai/hang")
        worker = shown(stack, doomed, "STARTED")["worker"]
        assert worker == "doomed"
        wait_until(lambda: worker in told_of(stack), timeout=60, what="Flower to show the worker")
        stack.flower("GET", "/api/workers?refresh=1")
    run = stack.wait_for(doomed, timeout=60)
    assert (run["status"], run["status_detail"]["worker"]) == ("ERROR", worker)
    assert shown(stack, doomed, "FAILURE")["exception"] == "ERROR: WorkerLost"
    wait_until(lambda: worker not in told_of(stack), timeout=60, what="the worker to go from its page")
    wait_until(
        lambda: worker not in stack.flower("GET", "/api/workers").json(),
        timeout=60,
        what="it to be forgotten",
    )
    assert f'worker="{worker}"' not in stack.flower("GET", "/metrics").text


def lines_about(worker, run_id):
    return [line for line in worker.log.splitlines() if run_id in line]


def test_a_worker_has_one_name_everywhere_and_after_a_restart(stack, full, env, tmp_path, celery):
    workers = Workers(celery)
    for attempt in range(2):
        log = tmp_path / f"{attempt}.log"
        with running_worker(stack, log, "--concurrency=1", "--name=blue@dock", env=env) as worker:
            run_id = stack.create_run(args=["Hi"], model="openai/hang")
            assert shown(stack, run_id, "STARTED")["worker"] == "blue@dock"
            assert worker.names == ["blue@dock"]
            lines = wait_until(
                partial(lines_about, worker, run_id), timeout=60, what="its log to tell of the run"
            )
            assert all('"worker": "blue@dock"' in line for line in lines)
            assert "blue@dock" in told_of(stack)
            assert workers.answering()["blue@dock"] == 1
            stack.cancel(run_id)
            told = workers.drain(["blue@dock"])
            workers.wait_gone(told, 20)


def test_a_second_worker_of_a_name_says_so_and_gets_a_number(stack, env, tmp_path):
    with (
        running_worker(stack, tmp_path / "one.log", "--name=red", env=env) as one,
        running_worker(stack, tmp_path / "two.log", "--name=red", env=env) as two,
    ):
        assert (one.names, two.names) == (["red"], ["red.2"])
        assert two.log.count("another worker has that name: give each its own") == 1


EVENT = {"type": "task-succeeded", "uuid": "x", "hostname": "w", "timestamp": 1.0, "utcoffset": 0, "clock": 1}

NO_EVENTS = [
    None,
    42,
    "text",
    [],
    {},
    {"type": "task-succeeded"},
    {**EVENT, "type": 7},
    {**EVENT, "type": "nonsense"},
    {**EVENT, "hostname": ["w"]},
    {**EVENT, "hostname": "x" * 10_000},
    {**EVENT, "uuid": {}},
    {**EVENT, "timestamp": "late"},
    {**EVENT, "timestamp": 1e300},
    {**EVENT, "utcoffset": []},
    {**EVENT, "clock": 10**400},
    {**EVENT, "clock": None},
    {**EVENT, "name": ["a"]},
    {**EVENT, "runtime": "long"},
    {**EVENT, "exception": {}},
    {**EVENT, "type": "worker-heartbeat", "freq": "often"},
]


def test_what_is_no_event_is_dropped_and_flower_goes_on(stack):
    garbage = [b"{bad", b"42", b"null", b"[" * 100_000, b"\xff", b"x" * 2_000_000]
    garbage += [json.dumps(message_of(event)).encode() for event in NO_EVENTS]
    garbage.append(
        json.dumps({**message_of(EVENT), "content-type": "application/x-python-serialize"}).encode()
    )
    garbage.append(json.dumps({**message_of(EVENT), "body": "%%%"}).encode())
    with redis.Redis.from_url(stack.redis_admin_url) as client:
        for message in garbage:
            assert client.publish("/0.celeryev/task.sent", message) == 1
    run_id = stack.create_run(args=["Hi"])
    assert shown(stack, run_id, "SUCCESS")
    log = (stack.data_dir / "logs" / "flower.log").read_text()
    assert log.count("malformed message dropped") >= len(garbage) - 1  # a list of no events is none
    for sign in ("Traceback", "Failed to capture", "Exception in callback"):
        assert sign not in log
    assert max(map(len, log.splitlines())) < 1_000


def message_of(event):
    return {
        "body": base64.b64encode(json.dumps(event).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"hostname": "w"},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celeryev", "routing_key": "task.sent"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "tag",
        },
    }
