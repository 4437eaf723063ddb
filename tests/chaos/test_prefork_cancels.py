"""Promise 5 in child processes: what does not stop is killed with its process."""

import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack

import pytest

from tests.support.cancels import GRACE, MARGIN, STUBBORN, cancel, check_slots, start_stubborn
from tests.support.faults import lives, of_program
from tests.support.invariants import check_runs, holder_of, read_events, read_row
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

CHILDREN = 2


@pytest.fixture(scope="module")
def prefork(make_worker: Callable[..., Worker]) -> Generator[Worker]:
    with ExitStack() as exits:
        options = ("--pool=prefork", f"--concurrency={CHILDREN}")
        yield make_worker(exits, *options, PYTHONPATH=str(STUBBORN))


@pytest.mark.usefixtures("prefork")
@pytest.mark.parametrize(
    ("way", "how"),
    [
        ("busy", "interrupted"),
        ("sleep", "killed"),
        ("swallow", "killed"),
        ("deaf", "killed"),
    ],
)
def test_work_that_does_not_stop_is_stopped_or_killed(
    broken_stack: Stack, database_url: str, way: str, how: str
) -> None:
    """Promise 5: within the grace; the sibling is not harmed, no slot is lost, nothing is accepted later."""
    stack = broken_stack
    stubborn = start_stubborn(stack, database_url, way)
    sibling = stack.create_run(args=["Hi"], model="openai/words-100-50")
    child = holder_of(database_url, stubborn)
    assert holder_of(database_url, sibling) != child
    cancelled = cancel(stack, stubborn)
    assert cancelled.answer["status"] == "CANCELLED"
    detail = cancelled.receipt(stack)
    said = read_events(database_url, stubborn)
    assert detail["stopped_how"] == how
    assert cancelled.lasted(detail) <= GRACE + MARGIN
    wait_until(lambda: not lives(child), timeout=60, what="the child to end")
    assert stack.wait_for(sibling)["status"] == "SUCCEEDED"
    assert read_row(database_url, sibling)["attempt"] == 1
    check_slots(stack, CHILDREN)
    assert read_events(database_url, stubborn) == said
    check_runs(database_url, [stubborn, sibling])


@pytest.mark.usefixtures("prefork")
def test_a_program_is_killed_with_all_it_has_started(broken_stack: Stack, database_url: str) -> None:
    """Promise 5, of a structure run: its program ends, and the child that it ran in goes on."""
    client, mark = broken_stack.client, uuid.uuid4().hex
    pace = [{"name": "WORDS_PER_SECOND", "value": "1"}]
    structure = client.post("/api/structures", json={"name": "slow", "env_vars": pace}).json()
    answer = client.post(
        f"/api/structures/{structure['structure_id']}/runs", json={"args": [mark, "word " * 100]}
    )
    run_id = answer.json()["structure_run_id"]
    child = holder_of(database_url, run_id)
    wait_until(lambda: of_program(run_id), timeout=60, what="the program")
    assert client.post(f"/api/structure-runs/{run_id}/cancel").json()["status"] == "CANCELLED"
    wait_until(lambda: not of_program(run_id), timeout=GRACE + MARGIN, what="the program to be gone")
    assert lives(child)
    check_runs(database_url, [run_id])
