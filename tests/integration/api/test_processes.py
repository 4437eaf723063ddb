"""Several processes of the API: they share a port, and a dead one is replaced."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from multiprocessing import util
from weakref import WeakValueDictionary

import httpx2
import psutil
import pytest

from api import supervisor
from api.__main__ import listen
from api.supervisor import Supervisor
from shared.keys.service import new_secret
from tests.integration.api.serving import api_process, environment_of, serving
from tests.support.waiting import wait_until

PATIENCE = 90  # seconds for a process to start beside others

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def _nothing_to_close_after_a_fork(monkeypatch):
    """Have a fork of this process be as one of a supervisor, which has no connections to brokers.

    Other tests have left some of kombu's. A fork would close them, and wait for an answer on a socket that it
    shares with the tests.
    """
    monkeypatch.setattr(util, "_afterfork_registry", WeakValueDictionary())


@pytest.fixture
def process(committed_settings, secret):
    """Two processes and their supervisor."""
    with api_process(committed_settings, secret=secret, patience=PATIENCE, API_PROCESSES="2") as process:
        wait_until(lambda: process.log.count('"Application startup complete."') == 2, timeout=PATIENCE)
        yield process


def members(process):
    """The processes below the supervisor."""
    return {one.pid for one in psutil.Process(process.popen.pid).children()}


def served_by(process):
    """The numbers of the processes that serve requests on connections of their own."""
    for _ in range(40):
        with httpx2.Client(base_url=process.client.base_url, headers=process.client.headers) as client:
            assert client.get("/api/users", timeout=PATIENCE).status_code == 200
    lines = [json.loads(line) for line in process.log.splitlines() if '"/api/users"' in line]
    return {line["number"] for line in lines}


def test_all_processes_serve_and_end_with_a_signal(process):
    running = members(process)
    assert len(running) == 2
    assert served_by(process) == {1, 2}
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(60) == 0
    assert not [pid for pid in running if psutil.pid_exists(pid)]
    assert "Traceback" not in process.log


def test_a_killed_process_is_replaced_and_no_request_is_refused_meanwhile(process):
    before = members(process)
    psutil.Process(min(before)).kill()
    assert served_by(process) == {1, 2}
    after = members(process)
    assert len(after) == 2
    assert len(after & before) == 1
    assert process.log.count('"process died"') == 1


@pytest.mark.full_length
def test_a_stopped_process_is_killed_and_replaced(process):
    before = members(process)
    psutil.Process(min(before)).suspend()
    wait_until(lambda: "process killed: it fell silent" in process.log, timeout=PATIENCE, what="its end")
    assert served_by(process) == {1, 2}
    after = members(process)
    assert len(after) == 2
    assert after & before == {max(before)}
    assert process.log.count("process killed") == 1


def test_no_process_outlives_its_supervisor(process):
    running = [psutil.Process(pid) for pid in members(process)]
    process.popen.kill()
    _gone, alive = psutil.wait_procs(running, timeout=60)
    assert alive == []


@pytest.mark.full_length
def test_another_installation_does_not_get_the_port(process, committed_settings):
    env = environment_of(committed_settings, API_PORT=str(process.port), API_PROCESSES="2")
    second = subprocess.run(
        [sys.executable, "-m", "api"], check=False, env=env, capture_output=True, timeout=PATIENCE
    )
    assert second.returncode != 0
    assert b"Traceback" not in second.stderr
    assert str(process.port).encode() in second.stderr


def test_wrong_keys_of_an_address_are_divided_among_the_processes(committed_settings, secret):
    settings = committed_settings.model_copy(update={"api_processes": 4, "key_refusals": 2})
    with serving(settings, secret=secret) as served:
        statuses = []
        while 429 not in statuses:
            headers = {"Authorization": f"Bearer {new_secret()}"}
            statuses.append(served.client.get("/api/users", headers=headers).status_code)
            assert len(statuses) < 15, "as many as if it were the only process"


def test_a_supervisor_gives_up_when_no_process_can_live(monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_PAUSE", 0.0)
    monkeypatch.setattr(supervisor, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(supervisor, "MAX_YOUNG_DEATHS", 3)
    monkeypatch.setattr(supervisor, "YOUNG", 60.0)
    (taken,) = listen("127.0.0.1", 0)

    def die(*_):
        os._exit(3)

    with taken:
        assert not Supervisor([[taken]], die, silence_limit=60).run()


def test_a_process_whose_loop_no_longer_turns_is_killed_and_replaced(monkeypatch):
    monkeypatch.setattr(supervisor, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(supervisor, "YOUNG", 0.0)
    (taken,) = listen("127.0.0.1", 0)
    deaths = []

    def hang(_number, _sockets, show_life):
        show_life()
        time.sleep(600)

    def note_death():
        deaths.append(1)
        if len(deaths) == 2:
            watched.stop()

    with taken:
        watched = Supervisor([[taken]], hang, silence_limit=1, on_death=note_death)
        assert watched.run()
    assert len(deaths) == 2


def test_a_process_that_cannot_be_forked_for_a_moment_takes_no_other_along(monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_PAUSE", 0.0)
    monkeypatch.setattr(supervisor, "START_PAUSE", 0.0)
    monkeypatch.setattr(supervisor, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(supervisor, "YOUNG", 0.0)
    fork, refusals, seen = os.fork, [OSError(errno.EAGAIN, "no room for a process")] * 3, []

    def fork_or_fail():
        if seen and refusals:
            raise refusals.pop()
        return fork()

    def live_or_die(number, _sockets, _show_life):
        if number == 1:
            os._exit(3)
        time.sleep(600)

    def note_death():
        seen.append({one.pid for one in psutil.Process().children()})
        if not refusals:
            watched.stop()

    monkeypatch.setattr(os, "fork", fork_or_fail)
    with ExitStack() as taken:
        listeners = [[taken.enter_context(one) for one in listen("127.0.0.1", 0)] for _ in range(2)]
        watched = Supervisor(listeners, live_or_die, silence_limit=60, on_death=note_death)
        assert watched.run()
    assert refusals == []
    assert seen[0] & seen[-1], "the other process did not live on"
