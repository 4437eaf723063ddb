"""How long a lost run stays lost, with the settings of a new user."""

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.faults import kill
from tests.support.invariants import await_words, check_runs, check_taken_over, holder_of
from tests.support.llm_stub import LlmStub, stalling_model
from tests.support.stack import Stack, environment, running_stack

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

RECOVERY = 25.0  # seconds: a lease, and the pause of the reconciler


@pytest.fixture
def default_stack(tmp_path: Path, llm: LlmStub) -> Generator[Stack]:
    """All times are the defaults; only that a run may be repeated is set."""
    theirs = {name: value for name, value in environment().items() if not name.startswith("RUNYARD_")}
    own = {"OPENAI_BASE_URL": llm.openai_url, "OPENAI_API_KEY": "sk-stub"}
    env = {**theirs, **own, "RUNYARD_MAX_ATTEMPTS_RUNNING": "2"}
    with running_stack(tmp_path, env=env) as running:
        yield running


def test_a_lost_run_is_back_at_work_within_25_s(default_stack: Stack) -> None:
    stack, database_url = default_stack, default_stack.file["database_url"]
    run_id = stack.create_run(args=["Hi"], model=stalling_model(20, pause=300))
    await_words(database_url, run_id)
    kill(holder_of(database_url, run_id))
    killed_at = time.monotonic()
    holder_of(database_url, run_id, attempt=2)
    recovery = time.monotonic() - killed_at
    print(f"back at work after {recovery:.1f} s")  # noqa: T201  # a figure, for who asks with -s
    assert recovery < RECOVERY
    assert stack.wait_for(run_id)["status"] == "SUCCEEDED"
    check_taken_over(database_url, run_id, words=20)
    check_runs(database_url, [run_id])
