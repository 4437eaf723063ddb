"""`runyard dev` as scripts and people use it."""

import os
import signal
import stat
import subprocess

import httpx2
import psutil
import psycopg
import pytest
import redis

from tests.support.stack import RUNYARD, STOP_PATIENCE, environment, running_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def runyard(stack, *arguments, timeout=60, **env):
    return subprocess.run(
        [str(RUNYARD), *arguments],
        env={
            **environment(**env),
            "RUNYARD_API_URL": stack.file["api_url"],
            "RUNYARD_API_KEY": stack.file["api_key"],
        },
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_the_file_says_where_everything_is(stack):
    file = stack.file
    assert set(file) == {
        *("api_url", "api_key", "flower_url", "database_url", "redis_url", "pids", "metrics_urls"),
    }
    assert file["metrics_urls"] == {}
    assert set(file["pids"]) == {"api", "worker", "reconciler", "flower", "postgres", "redis"}
    assert all(psutil.pid_exists(pid) for pid in file["pids"].values())
    assert stat.S_IMODE((stack.data_dir / "dev.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    assert stack.client.get("/health/ready").status_code == 200
    assert stack.client.get("/health/live").status_code == 200


def test_the_addresses_it_names_lead_to_rows_and_queues_only(stack):
    with psycopg.connect(stack.file["database_url"], autocommit=True) as connection:
        for statement in ("COPY runs FROM PROGRAM 'id'", "CREATE TABLE mine (x int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with redis.Redis.from_url(stack.file["redis_url"]) as client:
        for command in ("CONFIG GET dir", "FLUSHALL", "KEYS *"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="they are hidden from all but root")
def test_the_worker_alone_holds_the_keys_of_providers(stack):
    for name in ("api", "reconciler", "flower"):
        assert "sk-stub" not in psutil.Process(stack.file["pids"][name]).environ().values(), name
    assert "sk-stub" in psutil.Process(stack.file["pids"]["worker"]).environ().values()


def test_run_prints_the_answer_and_succeeds(stack):
    done = runyard(stack, "run", "So it goes.")
    assert done.returncode == 0, done.stderr
    assert "So it goes." in done.stdout


def test_the_exit_code_says_how_a_run_ended(stack):
    codes = {}
    for name, model in (("FAILED", "openai/status-500"), ("ERROR", "nobody/knows")):
        done = runyard(stack, "run", "--model", model, "Hi")
        codes[name] = done.returncode
        assert name in done.stdout + done.stderr
    assert 0 not in codes.values()
    assert len(set(codes.values())) == 2


def test_a_run_is_given_its_limits_on_the_command_line(stack):
    done = runyard(stack, "run", "--max-duration", "1", "--model", "openai/hang", "Hi")
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "ERROR: " in done.stderr
    assert "1 s" in done.stderr


def test_watch_and_cancel_from_the_command_line(stack):
    run_id = stack.create_run(args=["Hi"], model="openai/hang")
    stack.wait_for(run_id, "RUNNING")
    cancelled = runyard(stack, "cancel", run_id)
    assert cancelled.returncode == 0, cancelled.stderr
    watched = runyard(stack, "watch", run_id)
    assert "CANCELLED" in watched.stdout
    assert "AssistantRunCompleted" in watched.stdout


def test_a_new_user_runs_watches_and_cancels_without_any_variable(stack):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}

    def call(*arguments):
        return subprocess.run(
            [str(RUNYARD), *arguments, "--data-dir", str(stack.data_dir)],
            env=plain,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = call("run", "So it goes.")
    assert done.returncode == 0, done.stderr
    assert "So it goes." in done.stdout
    assert done.stderr.startswith("Run ")
    run_id = done.stderr.split()[1]
    assert "SUCCEEDED" in call("watch", run_id).stdout
    assert call("cancel", run_id).stdout.startswith("SUCCEEDED")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["watch", "11111111-1111-4111-8111-111111111111"], {}),
        (["run", "hi", "--api-key", "ry_wrong"], {}),
        (["run", "hi", "--api-url", "http://127.0.0.1:9"], {}),
    ],
)
def test_what_goes_wrong_is_one_clear_line(stack, arguments, env):
    done = runyard(stack, *arguments, **env)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


@pytest.mark.parametrize("name", ["reconciler", "worker", "api", "flower", "redis", "postgres"])
def test_a_child_that_dies_is_named_and_restarted(stack, name):
    before = stack.file["pids"][name]
    psutil.Process(before).send_signal(signal.SIGKILL)
    wait_until(
        lambda: stack.file["pids"][name] != before and psutil.pid_exists(stack.file["pids"][name]),
        timeout=60,
        what=f"{name} to be restarted",
    )
    assert name in stack.output
    assert "SIGKILL" in stack.output or "signal 9" in stack.output
    wait_until(lambda: _serves(stack), timeout=60, what="the stack to serve again")
    run_id = stack.create_run(args=["still here"])
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"


def _serves(stack):
    """Whether it is ready and stores something: that it is ready may be half a second old."""
    try:
        is_ready = stack.client.get("/health/ready").status_code == 200
        return is_ready and stack.client.post("/api/assistants", json={"name": "test"}).status_code == 201
    except httpx2.TransportError:
        return False


@pytest.mark.full_length
def test_a_signal_stops_everything_in_time_and_leaves_nothing(tmp_path):
    """Either signal; what there was is there again at the next start."""
    keys = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        with running_stack(tmp_path / "a folder with spaces", env=environment()) as stack:
            keys.add(stack.file["api_key"])
            below = psutil.Process(stack.process.pid).children(recursive=True)
            if number is signal.SIGTERM:
                assert stack.client.get("/api/assistants").json()["assistants"] != []
            stack.create_run(args=["a long text " * 50])
            stack.process.send_signal(number)
            assert stack.process.wait(STOP_PATIENCE) == 0, number
            _, alive = psutil.wait_procs(below, timeout=5)
            assert alive == [], number
            assert not (stack.data_dir / "dev.json").exists(), number
    assert len(keys) == 1
