"""The vital threads of this process: leases, deadlines, drain, presence, supervisor link, stopping a run."""

from typing import Final

from shared.processes.vitals import Vitals

vitals: Final = Vitals()
"""Of this process. A forked child inherits no thread, and registers its own."""
