"""The application that `celery -A worker.app` and Flower load."""

from importlib.util import find_spec

from shared.processes.hidden import hide_memory
from shared.settings import get_settings
from worker.process.wiring import make_app

hide_memory()
if find_spec("flower") is not None:  # the extra is installed, and Celery's command line has loaded it
    from worker.flower import guard as flower_guard

    flower_guard.guard()
app = make_app(get_settings())
