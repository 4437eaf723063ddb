"""What every server process sees to before it serves: settings, log, and a database it can work with."""

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.cli.invocation import runyard
from shared.database_errors import words_of
from shared.db import make_engine
from shared.errors import RunyardError
from shared.logs import configure_logging
from shared.migrations.upgrade import is_current
from shared.settings import Settings, get_settings, misspelt_variables

log = structlog.get_logger(__name__)


class DatabaseBehindError(RunyardError):
    """The database lacks tables of this release."""

    def __init__(self) -> None:
        super().__init__(f"The database lacks tables of this release: run `{runyard('migrate')}` first.")


def begin(process: str) -> Settings:
    """Read the settings and set up the log; say which variables are misspelt.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a needed one is missing.
    """
    settings = get_settings()
    configure_logging(settings, process=process)
    for variable, meant in misspelt_variables().items():
        log.warning("there is no such setting", variable=variable, did_you_mean=meant)
    return settings


def demand_schema(settings: Settings) -> None:
    """See that the database has what this release needs, if it answers.

    One that is away may come back, and whoever serves says so until then.

    Raises:
        DatabaseBehindError: it answers, and migrations of this release are missing.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        if not is_current(engine):
            raise DatabaseBehindError
    except SQLAlchemyError as error:
        log.warning("database cannot be used yet", error=words_of(error))
    finally:
        engine.dispose()
