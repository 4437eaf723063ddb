"""Start a worker: a supervisor and its processes."""

import sys

from shared.logs import configure_logging
from shared.processes.hidden import hide_memory
from shared.settings import get_settings
from worker.options import SupervisorOptions
from worker.supervisor import Supervisor


def main() -> int:
    hide_memory()
    settings = get_settings()
    options = SupervisorOptions.parse(settings)
    configure_logging(settings, process="worker-supervisor")
    return Supervisor(options, settings).run()


if __name__ == "__main__":
    sys.exit(main())
