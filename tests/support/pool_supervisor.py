"""A supervisor like `python -m worker`, of processes whose module or file is named first."""

import sys
from collections.abc import Sequence

from shared.logs import configure_logging
from shared.processes.hidden import hidden_module
from shared.settings import get_settings
from worker.process.options import ProcessOptions, SupervisorOptions
from worker.process.supervisor import Supervisor


def main() -> int:
    program, *arguments = sys.argv[1:]

    def command(options: ProcessOptions) -> Sequence[str]:
        start = [sys.executable, "-P", program] if program.endswith(".py") else hidden_module(program)
        return [*start, *options.arguments()]

    settings = get_settings()
    configure_logging(settings, process="worker-supervisor")
    return Supervisor(
        SupervisorOptions.parse(settings, ["--processes=1", *arguments]), settings, command=command
    ).run()


if __name__ == "__main__":
    sys.exit(main())
