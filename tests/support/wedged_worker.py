"""A worker process like that of pool_worker.py, whose consumer can be wedged; the probe notices it soon."""

import time
from typing import Any

from celery.worker.control import control_command

from tests.support import pool_worker
from worker.process import life

LIMIT = 2.0  # seconds without a turn that the probe allows


@control_command(name="wedge")
def wedge(state: Any, how: str, **_: Any) -> dict[str, str]:
    """Wedge the consumer: `loop` blocks its loop, `deaf` lets it turn without asking for messages."""
    if how == "loop":
        state.consumer.hub.call_later(0.2, time.sleep, 3600)
    else:
        state.consumer.task_consumer.channel.qos.can_consume = lambda: False
    return {"ok": how}


def main() -> None:
    life.TURN_LIMIT = LIMIT  # type: ignore[misc]  # a test does not wait for 90 s
    pool_worker.main()


if __name__ == "__main__":
    main()
