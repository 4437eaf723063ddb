"""What a worker process lives by: leases, deadlines, drain, presence, its lifeline, ways to stop a run."""

from typing import Final

from shared.vitals import Vitals

vitals: Final = Vitals()
"""Those of this process. A forked child has none of its parent's threads, and says anew what is to follow."""
