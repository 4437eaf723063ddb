"""What a cancel has to be, seen from outside: true when answered, with a receipt, and a slot given back."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.support.invariants import read_events
from tests.support.stack import Stack
from tests.support.waiting import wait_until

STUBBORN: Final = Path(__file__).with_name("stubborn")
"""What a worker needs on its PYTHONPATH for models like `stubborn/busy`."""

GRACE: Final = 2.0  # seconds, as the stacks of the tests are told
MARGIN: Final = 4.0  # seconds for a heartbeat and a busy machine
EVENT: Final = "StubbornEvent"


@dataclass(frozen=True)
class Cancelled:
    """A cancel that was answered."""

    run_id: str
    answer: dict[str, Any]
    answered_at: datetime

    def receipt(self, stack: Stack, *, timeout: float = 60) -> dict[str, Any]:
        """The `status_detail`, once it says how the work stopped."""

        def complete() -> dict[str, Any] | None:
            detail: dict[str, Any] = stack.run(self.run_id)["status_detail"]
            return detail if detail["stopped_at"] else None

        detail = wait_until(complete, timeout=timeout, pause=0.05, what=f"the receipt of {self.run_id}")
        assert detail is not None
        return detail

    def lasted(self, detail: dict[str, Any]) -> float:
        """Seconds from the answer until the code had stopped; the clock is the same machine's."""
        return (datetime.fromisoformat(detail["stopped_at"]) - self.answered_at).total_seconds()


def cancel(stack: Stack, run_id: str) -> Cancelled:
    """Cancel a run, and note when that was answered."""
    answer = stack.cancel(run_id)
    return Cancelled(run_id, answer, datetime.now(UTC))


def start_stubborn(stack: Stack, database_url: str, way: str) -> str:
    """Create a run that does not stop, and wait until its code is at it."""
    run_id = stack.create_run(args=["Hi"], model=f"stubborn/{way}")
    wait_until(
        lambda: EVENT in [kind for kind, _ in read_events(database_url, run_id)],
        timeout=60,
        what=f"{run_id} to be at it",
    )
    return run_id


def check_slots(stack: Stack, count: int) -> None:
    """Fail unless a worker can execute that many runs at once."""
    with ExitStack() as cancelling:
        held = [stack.create_run(args=["Hi"], model="openai/hang") for _ in range(count)]
        for run_id in held:
            cancelling.callback(stack.cancel, run_id)
        for run_id in held:
            stack.wait_for(run_id, "RUNNING")
