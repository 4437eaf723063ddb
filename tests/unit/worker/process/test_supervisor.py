"""When the supervisor restarts a process that exited."""

from typing import Any, cast

import pytest

from shared.processes.silence import Silence
from shared.settings import Settings
from worker.process.options import SupervisorOptions
from worker.process.supervisor import (
    MAX_RESTART_DELAY,
    MIN_RESTART_DELAY,
    STABLE_AFTER,
    Child,
    Replica,
    Supervisor,
)
from worker.process.supervisor_link import EX_RECYCLE


def replica_of(started_at: float, replica: Replica | None = None) -> Replica:
    replica = replica or Replica()
    replica.child = Child(cast("Any", None), cast("Any", None), 1, started_at, Silence(20))
    return replica


def test_process_that_worked_for_a_while_is_replaced_at_once() -> None:
    replica = replica_of(started_at=100)
    assert replica.record_exit(100 + STABLE_AFTER, code=-9) == 0
    assert replica.start_at == 100 + STABLE_AFTER
    assert replica.child is None


def test_a_process_that_exits_early_again_and_again_is_restarted_with_a_growing_delay() -> None:
    replica = Replica()
    delays = [replica_of(100, replica).record_exit(101, code=1) for _ in range(3000)]
    assert delays[:3] == [MIN_RESTART_DELAY, 2 * MIN_RESTART_DELAY, 4 * MIN_RESTART_DELAY]
    assert delays[-1] == MAX_RESTART_DELAY


def test_one_that_lived_clears_the_record() -> None:
    replica = Replica()
    for ended_at in (101, 101, 200):
        replica_of(100, replica).record_exit(ended_at, code=1)
    assert replica_of(100, replica).record_exit(101, code=1) == MIN_RESTART_DELAY


@pytest.mark.parametrize("age", [0, 1000])
def test_recycled_process_is_replaced_at_once_whatever_its_age(age: float) -> None:
    assert replica_of(started_at=100).record_exit(100 + age, code=EX_RECYCLE) == 0


def test_machine_that_starts_no_process_is_asked_again_later() -> None:
    settings = Settings.model_validate(
        {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    )
    supervisor = Supervisor(
        SupervisorOptions.parse(settings, ["--processes=1"]),
        settings,
        command=lambda _: ["/nowhere/no-such-program"],
    )
    supervisor._start_due()
    (replica,) = supervisor._replicas
    assert replica.child is None
    assert replica.early_exits == 1
