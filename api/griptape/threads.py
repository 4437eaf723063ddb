"""Threads, which this release does not have yet: a run may only ask for none."""

from typing import Annotated

from pydantic import AfterValidator, StrictBool
from pydantic_core import PydanticCustomError


def _refuse(value: object) -> None:
    if value:
        raise PydanticCustomError("threads_unavailable", "This release has no threads; leave this out.")


NoThreadId = Annotated[str | None, AfterValidator(_refuse)]
"""Null and the empty string mean no thread, as some clients say it."""

NoNewThread = Annotated[StrictBool | None, AfterValidator(_refuse)]
