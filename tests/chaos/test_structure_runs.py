"""Structure runs whose worker dies or is drained: the same promises."""

import uuid

import pytest

from tests.support.faults import kill, of_program
from tests.support.invariants import check_runs, holder_of, read_events, read_row
from tests.support.waiting import wait_until
from worker.executors.program.workdirs import PREFIX

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]


@pytest.fixture
def begin(broken_stack):
    """Begin a run of the sample that says so many words in so many seconds."""

    def begin(mark, words, seconds):
        pace = [{"name": "WORDS_PER_SECOND", "value": str(words / seconds)}]
        structure = broken_stack.client.post("/api/structures", json={"name": "sample", "env_vars": pace})
        url = f"/api/structures/{structure.json()['structure_id']}/runs"
        answer = broken_stack.client.post(url, json={"args": [mark, "word " * (words - 1)]})
        assert answer.status_code == 201, answer.text
        return answer.json()["structure_run_id"]

    return begin


@pytest.fixture
def read(broken_stack):
    return lambda run_id: broken_stack.client.get(f"/api/structure-runs/{run_id}").json()


@pytest.fixture
def ended(read):
    def ended(run_id):
        return wait_until(
            lambda: (run := read(run_id))["completed_at"] and run, timeout=60, what=f"{run_id} to end"
        )

    return ended


def test_promise_3_a_killed_worker_takes_its_program_along_and_another_begins_anew(
    database_url, begin, ended, new_worker, tmp_path
):
    """Promise 3: at most `max_attempts` times, and only one attempt can write."""
    health = str(tmp_path / "health")
    left = tmp_path / f"{PREFIX}left"  # by a worker that died before a shim watched over it
    (left / "home").mkdir(parents=True)
    new_worker("--concurrency=2", processes=2, TMPDIR=str(tmp_path), RUNYARD_HEALTH_DIR=health)
    mark = uuid.uuid4().hex
    run_id = begin(mark, words=40, seconds=4)
    holder = holder_of(database_url, run_id)
    first = wait_until(lambda: of_program(run_id), timeout=60, what="the program")
    assert not left.exists()
    (place,) = tmp_path.glob(f"{PREFIX}*")
    kill(holder)
    wait_until(lambda: not any(one.is_running() for one in first), timeout=60, what="the program to be gone")
    wait_until(lambda: not place.exists(), timeout=60, what="its directory to be gone")
    run = ended(run_id)
    assert (run["status"], len(run["output"]["value"].split())) == ("SUCCEEDED", 40)
    row = read_row(database_url, run_id)
    assert (row["attempt"], row["losses"]) == (2, 1)
    types = [kind for kind, _ in read_events(database_url, run_id)]
    assert types.count("FinishStructureRunEvent") == 1
    assert types[-1] == "StructureRunCompleted"
    check_runs(database_url, [run_id])


def test_promise_6_a_drained_worker_gives_its_program_back_uncharged(
    database_url, begin, read, ended, new_worker
):
    """Promise 6: a deploy burns no attempt; the program is begun anew by the next worker."""
    worker = new_worker("--concurrency=2", RUNYARD_DRAIN_GRACE="1")
    mark = uuid.uuid4().hex
    run_id = begin(mark, words=40, seconds=8)
    holder_of(database_url, run_id)
    wait_until(lambda: of_program(run_id), timeout=60, what="the program")
    worker.process.terminate()
    given_back = wait_until(
        lambda: (run := read(run_id))["status"] == "QUEUED" and run, timeout=60, what="it to be given back"
    )
    assert given_back["status_detail"]["reason"] == "WorkerDrained"
    assert of_program(run_id) == []
    row = read_row(database_url, run_id)
    assert (row["attempt"], row["losses"]) == (1, 0)
    new_worker("--concurrency=2")
    run = ended(run_id)
    assert (run["status"], len(run["output"]["value"].split())) == ("SUCCEEDED", 40)
    row = read_row(database_url, run_id)
    assert (row["attempt"], row["losses"]) == (2, 0)
    check_runs(database_url, [run_id])
