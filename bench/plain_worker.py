"""A Celery worker without the product: `celery -A bench.plain_worker worker`."""

import os
import threading
import time
from pathlib import Path
from typing import Final

from bench.limits import TASK, celery_app

TASKS: Final = int(os.environ.get("BENCH_TASKS", "1"))
FILE: Final = Path(os.environ.get("BENCH_FILE", os.devnull))

app = celery_app(os.environ["RUNYARD_DATABASE_URL"], os.environ["RUNYARD_REDIS_URL"])

_times: list[float] = []
_lock = threading.Lock()


@app.task(name=TASK)
def noop() -> None:
    """Do nothing; after each `TASKS`, write how many were done in a second."""
    rate = None
    with _lock:
        _times.append(time.perf_counter())
        if len(_times) == TASKS:
            rate = TASKS / (_times[-1] - _times[0])
            _times.clear()
    if rate is not None:
        temporary = FILE.with_suffix(".part")
        temporary.write_text(str(rate))
        temporary.replace(FILE)
