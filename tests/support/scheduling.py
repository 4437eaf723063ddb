"""Which test process takes which tests: those that start whole stacks go one after another."""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

STACK_FOLDERS: Final = ("tests/e2e/", "tests/chaos/", "tests/conformance/")
"""Their tests start or share a whole stack; two at once on two cores would disturb each other's timing."""

STACK_LANE: Final = "stack"


class StackLaneScheduling(LoadScopeScheduling):
    """Sends all tests that need a whole stack to one process, and any other test to whichever is free.

    The plugin's own grouping by mark (`--dist=loadgroup`) has no effect with pytest 9.2: it writes a field
    that pytest no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return STACK_LANE if nodeid.startswith(STACK_FOLDERS) else nodeid
