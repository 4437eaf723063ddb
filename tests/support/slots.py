"""A slot for a run that a test executes itself."""

import threading

from shared.lifecycle import StoppedHow
from worker.cancellation import CancelToken


class FakeSlot:
    """A slot in no pool."""

    last_resort = StoppedHow.ABANDONED

    def __init__(self):
        self.token = CancelToken()
        self.abandoned = threading.Event()

    def abandon(self):
        self.abandoned.set()
