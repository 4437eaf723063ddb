"""What `celery -A worker.app` and Flower load."""

from shared.settings import get_settings
from worker.wiring import make_app

app = make_app(get_settings())
