"""Structure runs on the whole stack: programs that misbehave, cancels, keys, tools."""

import textwrap
import time
import uuid

import httpx2
import psutil
import pytest

from tests.support.faults import of_program
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

GRACE = 2.0  # seconds: RUNYARD_CANCEL_GRACE of the stack


@pytest.fixture
def begin(stack):
    """Begin a run of Python source, by the folder that executes its first argument."""

    def begin(source, *args, **fields):
        code = {"default": {"folder": "source"}}
        structure = stack.client.post("/api/structures", json={"name": "source", "code": code}).json()
        body = {"args": [textwrap.dedent(source), *args], **fields}
        answer = stack.client.post(f"/api/structures/{structure['structure_id']}/runs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["structure_run_id"]

    return begin


@pytest.fixture
def read(stack):
    return lambda run_id, wait=0: stack.client.get(
        f"/api/structure-runs/{run_id}", params={"wait": wait}
    ).json()


@pytest.fixture
def ended(read):
    def ended(run_id):
        return wait_until(
            lambda: (run := read(run_id, 20))["completed_at"] and run, timeout=60, what=f"{run_id} to end"
        )

    return ended


@pytest.fixture
def logs(stack):
    return lambda run_id: stack.client.get(f"/api/structure-runs/{run_id}/logs").json()["logs"]


def test_a_program_gets_its_arguments_and_its_environment(begin, ended, logs):
    run_id = begin(
        """
        import json, os, sys
        print(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]))
        """,
        "one",
        "two words",
        env_vars=[{"name": "MINE", "value": "1"}],
    )
    assert ended(run_id)["status"] == "SUCCEEDED"
    (line,) = logs(run_id)
    assert '["one", "two words"]' in line
    assert f'"GT_CLOUD_STRUCTURE_RUN_ID": "{run_id}"' in line
    assert '"MINE": "1"' in line
    assert "[GT_CLOUD_API_KEY]" in line  # the value itself is redacted
    assert "RUNYARD_DATABASE_URL" not in line
    assert "OPENAI_API_KEY" not in line


def test_output_is_readable_while_it_runs(stack, begin, read, logs):
    run_id = begin("print('first', flush=True); import time; time.sleep(60)")
    wait_until(lambda: logs(run_id) == ["first"], timeout=60, what="the first line")
    assert read(run_id)["status"] == "RUNNING"
    stack.client.post(f"/api/structure-runs/{run_id}/cancel")


def test_promise_5_nothing_of_a_cancelled_program_is_left(stack, begin, read, logs):
    """Promise 5: it ignores SIGTERM, and has detached grandchildren that do, too."""
    mark = uuid.uuid4().hex
    run_id = begin(
        """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(3):
            if not os.fork():
                os.setsid()
                if not os.fork():
                    time.sleep(300)
                os._exit(0)
        print("ready", flush=True)
        time.sleep(300)
        """,
        mark,
    )
    wait_until(lambda: logs(run_id) == ["ready"], timeout=60, what="the program to be ready")
    assert len(of_program(run_id)) >= 4
    cancelled = time.monotonic()
    assert stack.client.post(f"/api/structure-runs/{run_id}/cancel").json()["status"] == "CANCELLED"
    wait_until(lambda: not of_program(run_id), timeout=60, what="every process to be gone")
    assert time.monotonic() - cancelled < GRACE + 15  # a second on an idle machine, and minutes by themselves
    receipt = wait_until(
        lambda: (detail := read(run_id)["status_detail"])["stopped_at"] and detail,
        timeout=60,
        what="a receipt",
    )
    assert receipt["stopped_how"] == "killed"


@pytest.fixture
def workers(stack):
    """The worker processes."""
    return lambda: [one.pid for one in psutil.Process(stack.file["pids"]["worker"]).children()]


MISCHIEF = {
    "a fork bomb": ("import os, time\nfor _ in range(8): os.fork()\ntime.sleep(20)", {"processes"}),
    "much memory at once": ("x = []\nwhile True: x.append(b'x' * 50_000_000)", {"code 1", "memory"}),
    "much memory in children": (
        """
        import os, time
        for _ in range(20):
            if not os.fork():
                block = b"x" * 150_000_000
                time.sleep(60)
        time.sleep(60)
        """,
        {"memory"},
    ),
    "a gigabyte of output": ("for _ in range(1000): print('x' * 999_999)", {"ended"}),
}


@pytest.mark.parametrize("what", MISCHIEF)
def test_a_program_that_misbehaves_harms_nobody_else(stack, begin, ended, logs, workers, what):
    source, said = MISCHIEF[what]
    worker = set(workers())
    neighbour = stack.create_run(input="a neighbour " * 50)
    run_id = begin(source)
    run = ended(run_id)
    assert any(word in run["status_detail"]["message"] for word in said), run["status_detail"]
    assert run["status"] == ("SUCCEEDED" if said == {"ended"} else "FAILED")
    assert stack.wait_for(neighbour)["status"] == "SUCCEEDED"
    assert worker == set(workers())
    assert sum(map(len, logs(run_id))) < 2_000_000


def test_a_key_dies_with_its_run(stack, begin, ended):
    run_id = begin(
        """
        import os, urllib.request
        key = os.environ["GT_CLOUD_API_KEY"]
        print(" ".join(key), flush=True)
        for path, method in (("/api/assistants", "GET"), ("/api/organizations", "POST")):
            request = urllib.request.Request(
                os.environ["GT_CLOUD_BASE_URL"] + path,
                data=b'{"name": "x"}' if method == "POST" else None,
                headers={"Authorization": "Bearer " + key, "Content-Type": "application/json"},
                method=method,
            )
            try:
                print(urllib.request.urlopen(request).status, flush=True)
            except urllib.error.HTTPError as error:
                print(error.code, flush=True)
        """
    )
    assert ended(run_id)["status"] == "SUCCEEDED"
    spelled, *answers = stack.client.get(f"/api/structure-runs/{run_id}/logs").json()["logs"]
    assert answers == ["403", "403"]
    headers = {"Authorization": f"Bearer {spelled.replace(' ', '')}"}
    wait_until(
        lambda: httpx2.get(f"{stack.file['api_url']}/api/assistants", headers=headers).status_code == 401,
        timeout=60,
        what="the key to be refused",
    )


def test_no_secret_of_a_program_is_in_flower_or_in_a_log(stack, begin, ended):
    value = uuid.uuid4().hex
    run_id = begin(
        """
        import os
        print(os.environ["DB_PASS"], flush=True)
        print(" ".join(os.environ["GT_CLOUD_API_KEY"]), flush=True)
        raise SystemExit(3)
        """,
        env_vars=[{"name": "DB_PASS", "value": value}],
    )
    assert ended(run_id)["status"] == "FAILED"
    shown, spelled = stack.client.get(f"/api/structure-runs/{run_id}/logs").json()["logs"]
    assert shown == "[DB_PASS]"
    task = wait_until(
        lambda: (
            (answer := stack.flower("GET", f"/api/task/info/{run_id}.1")).status_code == 200
            and answer.json()["state"] == "FAILURE"
            and answer
        ),
        timeout=60,
        what="Flower to show the run's end",
    )
    everything = task.text + stack.flower("GET", "/api/tasks").text + stack.logs
    assert run_id in stack.logs
    for secret in (value, spelled.replace(" ", "")):
        assert secret not in everything


def test_a_run_that_takes_too_long_is_ended(begin, ended):
    run_id = begin("import time; time.sleep(300)", max_duration=1)
    run = ended(run_id)
    assert (run["status"], run["status_detail"]["reason"]) == ("ERROR", "TimedOut")


def test_the_sample_answers_with_its_arguments(stack, ended):
    structure_id = stack.client.post("/api/structures", json={"name": "sample"}).json()["structure_id"]
    run = stack.client.post(f"/api/structures/{structure_id}/runs", json={"args": ["Hello", "there"]}).json()
    assert ended(run["structure_run_id"])["output"]["value"] == "Hello there"


def test_an_assistant_calls_a_structure_as_a_tool(stack):
    sample = stack.client.post("/api/structures", json={"name": "The sample", "description": "Says it back"})
    assistant_id = stack.create_assistant(model="openai/tool", structure_ids=[sample.json()["structure_id"]])
    run_id = stack.create_run(assistant_id, input="Use the tool.")
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    (called,) = stack.client.get(f"/api/assistant-runs/{run_id}/structure-runs").json()["structure_runs"]
    assert called["parent_run_id"] == run_id
    assert (called["status"], called["args"]) == ("SUCCEEDED", ["from", "the", "model"])


def test_a_called_run_is_cancelled_with_its_caller(stack, read):
    variables = [{"name": "WORDS_PER_SECOND", "value": "0.1"}]
    sample = stack.client.post("/api/structures", json={"name": "Slow", "env_vars": variables})
    assistant_id = stack.create_assistant(model="openai/tool", structure_ids=[sample.json()["structure_id"]])
    run_id = stack.create_run(assistant_id, input="Use the tool.")
    url = f"/api/assistant-runs/{run_id}/structure-runs"
    called = wait_until(
        lambda: next(
            (run for run in stack.client.get(url).json()["structure_runs"] if run["status"] == "RUNNING"),
            None,
        ),
        timeout=60,
        what="the called run",
    )
    stack.cancel(run_id)
    child = read(called["structure_run_id"])
    assert child["status"] == "CANCELLED"
    assert child["status_detail"]["requested_by"] == f"its parent run {run_id}"


OUTPUT = 4_194_304  # bytes: RUNYARD_STRUCTURE_OUTPUT


def test_an_output_of_more_than_a_mebibyte_is_kept(begin, ended):
    run = ended(begin("from worker.executors.program.finish import finish\nfinish('é' * 1_500_000)"))
    assert (run["status"], run["output"]["value"]) == ("SUCCEEDED", "é" * 1_500_000)


FRAMEWORK = """
    import os
    from griptape.artifacts import TextArtifact
    from griptape.drivers.event_listener.griptape_cloud import GriptapeCloudEventListenerDriver
    from griptape.events import FinishStructureRunEvent

    driver = GriptapeCloudEventListenerDriver()
    artifact = TextArtifact("x" * {size})
    driver.publish_event(FinishStructureRunEvent(
        structure_id=os.environ["GT_CLOUD_STRUCTURE_RUN_ID"], output_task_output=artifact
    ))
    driver.flush_events()
"""


@pytest.mark.parametrize(
    "source",
    [
        f"from worker.executors.program.finish import finish_or_exit\nfinish_or_exit('x' * {OUTPUT + 1})",
        FRAMEWORK.format(size=OUTPUT + 1),
        FRAMEWORK.format(size=4 * OUTPUT),
    ],
    ids=["ours", "framework", "framework-unread"],
)
def test_a_larger_output_fails_the_run_and_says_what_the_limit_is(begin, ended, source):
    run = ended(begin(source))
    detail = run["status_detail"]
    assert (run["status"], detail["reason"]) == ("FAILED", "OutputTooLarge"), detail
    assert f"{OUTPUT}" in detail["message"]
    assert "RUNYARD_STRUCTURE_OUTPUT" in detail["message"]


def test_what_failed_a_program_is_in_the_message(begin, ended):
    run = ended(begin("raise LookupError('nothing there')"))
    assert run["status_detail"]["message"] == (
        "The program exited with code 1. It said last: LookupError: nothing there"
    )
