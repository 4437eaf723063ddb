"""Start a worker: a supervisor and its processes."""

import sys

from shared.processes.exporter import Exporter, listen, token_of
from shared.processes.failures import plain_failures
from shared.processes.garbage import settle_garbage
from shared.processes.hidden import hide_memory
from shared.processes.metrics import SharedMetrics
from shared.processes.starting import begin, demand_schema
from shared.settings import demand_structure_api_url
from worker.process.options import SupervisorOptions
from worker.process.supervisor import Supervisor


def main() -> int:
    hide_memory()
    with plain_failures():
        settings = begin("worker-supervisor")
        demand_structure_api_url(settings)
        options = SupervisorOptions.parse(settings)
        listener = listen(settings)
        demand_schema(settings)
        metrics = None if listener is None else SharedMetrics.make()
    settle_garbage()
    if listener is None or metrics is None:
        return Supervisor(options, settings).run()
    Exporter(listener, metrics, token=token_of(settings)).start()
    try:
        return Supervisor(options, settings, metrics=metrics.directory).run()
    finally:
        metrics.close()


if __name__ == "__main__":
    sys.exit(main())
