"""Says whether a worker or a reconciler of this machine goes on: what a container's health check asks.

python -m shared.alive worker
"""

import socket
import sys
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from shared import beats
from shared.database_errors import words_of
from shared.db import make_engine, make_sessions, unit_of_work
from shared.failures import EXIT_CODE, EXPECTED, sentence_of
from shared.models import ProcessKind
from shared.settings import Settings, get_settings

SILENT_AFTER: Final = 60.0  # seconds; many times the pause between two beats


def why_not(kind: ProcessKind, settings: Settings, *, host: str) -> str | None:
    """Why no process of a kind can be said to go on here, for people; None if one does."""
    engine = make_engine(settings, pool_size=1)
    try:
        with unit_of_work(make_sessions(engine)) as session:
            heard = beats.latest(session, kind, host=host)
    except SQLAlchemyError as error:
        return f"PostgreSQL does not tell: {words_of(error)}"
    finally:
        engine.dispose()
    if heard is None:
        return f"No {kind} of {host} has been heard of."
    if heard.seconds_ago > SILENT_AFTER:
        return f"The {kind} {heard.name} has not been heard of for {heard.seconds_ago:.0f} s."
    return None


def main() -> None:
    """Exit with 0 if one goes on, with 1 and a sentence if not."""
    try:
        sentence = why_not(ProcessKind(sys.argv[1]), get_settings(), host=socket.gethostname())
    except EXPECTED as error:
        sentence = sentence_of(error)
    if sentence:
        print(sentence, file=sys.stderr)  # noqa: T201  # what a health check shows
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
