"""What a worker process lives by: its leases, its deadlines, its drain, its line to the supervisor."""

from typing import Final

from shared.vitals import Vitals

vitals: Final = Vitals()
"""Those of this process. A forked child has none of its parent's threads, and says anew what is to follow."""
