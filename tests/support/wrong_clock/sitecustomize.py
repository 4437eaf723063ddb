"""Sets the clock of a Python process wrong, by WRONG_CLOCK seconds; on PYTHONPATH it is loaded first."""

import datetime as dt
import os
import time
from typing import Self

OFFSET = float(os.environ["WRONG_CLOCK"])

_time, _datetime = time.time, dt.datetime


class WrongDatetime(_datetime):
    """What `datetime` is while the clock is wrong; its instances are the real ones."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return _datetime.now(tz) + dt.timedelta(seconds=OFFSET)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.now(dt.UTC).replace(tzinfo=None)


def wrong_time() -> float:
    return _time() + OFFSET


time.time = wrong_time
dt.datetime = WrongDatetime
