"""Start a worker: a supervisor and its processes."""

import sys

from shared.failures import plain_failures
from shared.processes.hidden import hide_memory
from shared.starting import begin, demand_schema
from worker.options import SupervisorOptions
from worker.supervisor import Supervisor


def main() -> int:
    hide_memory()
    with plain_failures():
        settings = begin("worker-supervisor")
        options = SupervisorOptions.parse(settings)
        demand_schema(settings)
    return Supervisor(options, settings).run()


if __name__ == "__main__":
    sys.exit(main())
