"""Distribution of the tests over the processes of `pytest -n`: one process executes a lane."""

from collections.abc import Sequence
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

APART: Final[Sequence[str]] = (
    "tests/chaos/test_alerts.py",
    "tests/chaos/test_drill.py",
    "tests/e2e/test_metrics.py",
    "tests/e2e/test_connections.py",
)
"""Modules of which each test starts a system of its own, and takes up to minutes: any process may execute
any of them."""

LANES: Final[Sequence[tuple[str, str]]] = (
    ("tests/e2e/test_flower.py", "flower"),
    ("tests/e2e/test_installation.py", "installation"),
    ("tests/e2e/test_traces.py", "told"),
    ("tests/e2e/test_following_logs.py", "told"),
    ("tests/e2e/", "e2e"),
    ("tests/chaos/test_accept.py", "outages"),
    ("tests/chaos/test_loss.py", "outages"),
    ("tests/chaos/test_outages.py", "outages"),
    ("tests/chaos/test_streams.py", "outages"),
    ("tests/chaos/test_clocks.py", "deploys"),
    ("tests/chaos/test_deploys.py", "deploys"),
    ("tests/chaos/test_hostile_hour.py", "own stacks"),
    ("tests/chaos/test_recovery_time.py", "own stacks"),
    ("tests/chaos/", "workers"),
    ("tests/conformance/", "conformance"),
)
"""Path prefix and lane; the first match counts. A lane starts its stack once."""

ORDER: Final[Sequence[str]] = (
    *("outages", "deploys", "workers", "e2e", "conformance"),
    *("flower", "own stacks", "told", "installation"),
)
"""The lanes, longest first: one that starts late would prolong the whole."""

SLOW_MODULES: Final[Sequence[str]] = (
    "tests/integration/worker/process/test_silent_processes.py",
    "tests/integration/cli/test_drain.py",
    "tests/integration/worker/process/",
    "tests/integration/worker/executors/",
    "tests/integration/worker/attempt/",
    "tests/integration/",
    "tests/unit/worker/guardrails/",
    "tests/unit/worker/executors/",
    "tests/unit/worker/",
)
"""Modules outside the lanes, longest first; those of other folders come last."""


class LaneScheduling(LoadScopeScheduling):
    """Sends each lane to one process, and any other module to whichever process is free.

    The plugin's own grouping by mark (`--dist=loadgroup`) has no effect with pytest 9.2: it writes a field
    that pytest no longer reads.
    """

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the collected order is already the wanted one, see `rank`

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """What one process executes together: a test that stands apart, a lane, or a module."""
    if nodeid.startswith(tuple(APART)):
        return nodeid
    return lane_of(nodeid) or nodeid.partition("::")[0]


def lane_of(nodeid: str) -> str | None:
    """The lane of a test, or None for a test that any process may execute."""
    if nodeid.startswith(tuple(APART)):
        return None
    return next((lane for prefix, lane in LANES if nodeid.startswith(prefix)), None)


def rank(nodeid: str) -> int:
    """The place of a test in the order of execution: tests apart, lanes, slow modules, then the rest."""
    if lane := lane_of(nodeid):
        return len(APART) + ORDER.index(lane)
    begun = len(APART) + len(ORDER)
    places = {prefix: place for place, prefix in enumerate(APART)}
    places |= {prefix: begun + place for place, prefix in enumerate(SLOW_MODULES)}
    return next(
        (place for prefix, place in places.items() if nodeid.startswith(prefix)), begun + len(SLOW_MODULES)
    )
