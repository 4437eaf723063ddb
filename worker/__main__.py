"""Start a worker: a supervisor and its processes."""

import sys

from shared.logs import configure_logging
from shared.settings import get_settings
from worker.options import SupervisorOptions
from worker.supervisor import Supervisor


def main() -> int:
    settings = get_settings()
    options = SupervisorOptions.parse(settings)
    configure_logging(settings, process="worker-supervisor")
    return Supervisor(options, settings).run()


if __name__ == "__main__":
    sys.exit(main())
