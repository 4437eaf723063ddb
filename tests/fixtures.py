"""Fixtures for all tests: servers for those that ask, rows, and a clean database for each."""

import logging
import os
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import sessionmaker

from shared.db import Sessions, make_engine, make_sessions
from shared.events.channels import InstallationSecret
from shared.keys.principal import Principal
from shared.models import Assistant, Run
from shared.settings import Settings
from tests.support.checkout import STRUCTURES
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import Factories
from tests.support.keeping import KEPT, Kept
from tests.support.llm_stub import LlmStub
from tests.support.services import TEMPLATE, TestServices, fast_directory, running_services
from tests.support.stack import Stack, environment, running_stack


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What the API runs on. The package that drives a browser brings another backend."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Only what went wrong, with plain tracebacks; structlog's own default takes seconds over one."""
    structlog.configure(
        [structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


@pytest.fixture(scope="session", autouse=True)
def _secret_read_once() -> Generator[None]:
    """Read the installation's secret once: all databases are copies of one, and connecting takes long."""
    read = InstallationSecret._read
    known: list[bytes] = []

    def read_once(self: InstallationSecret) -> bytes | None:
        if TEMPLATE not in self._settings.database_url.get_secret_value():
            return read(self)
        if not known and (secret := read(self)) is not None:
            known.append(secret)
        return known[0] if known else None

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(InstallationSecret, "_read", read_once)
        yield


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Generator[TestServices]:
    """One PostgreSQL and one Redis per test process, not durable, stopped at the end."""
    with (
        fast_directory(tmp_path_factory.mktemp("services")) as directory,
        running_services(directory) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def template_database(services: TestServices) -> str:
    """The name of a migrated database; others are cloned from it, so nobody connects to it."""
    return services.migrate_template()


@pytest.fixture(scope="session")
def database_url(services: TestServices, template_database: str) -> Generator[str]:
    """The migrated database that tests share, each rolling back what it did."""
    with services.cloned_database(template_database) as url:
        yield url


@pytest.fixture
def setting_overrides() -> dict[str, Any]:
    """What a module's tests set differently: override this fixture there."""
    return {}


@pytest.fixture(scope="session")
def plain_settings(services: TestServices, database_url: str) -> Settings:
    """Settings for the shared database, made once: it takes as long as some requests."""
    return services.settings(database_url=database_url)


@pytest.fixture
def settings(
    services: TestServices, database_url: str, plain_settings: Settings, setting_overrides: dict[str, Any]
) -> Settings:
    """Settings for the shared database."""
    if not setting_overrides:
        return plain_settings
    return services.settings(database_url=database_url, **setting_overrides)


def patient_engine(settings: Settings) -> Engine:
    """Connections of a test, whose transactions may idle for as long as it computes or waits."""
    return make_engine(settings, limits={"idle_in_transaction_session_timeout": timedelta(0)})


@pytest.fixture(scope="session")
def engine(services: TestServices, database_url: str) -> Generator[Engine]:
    """Connections to the shared database."""
    engine = patient_engine(services.settings(database_url=database_url))
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Generator[Sessions]:
    """Sessions on one connection: the code commits, the test rolls back.

    All of a test is one transaction, in which `now()` stands still.
    """
    with engine.connect() as connection:
        transaction = connection.begin()
        yield sessionmaker(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
        transaction.rollback()


@pytest.fixture
def committed_settings(
    services: TestServices, template_database: str, setting_overrides: dict[str, Any]
) -> Generator[Settings]:
    """Settings for a database of the test's own and an empty Redis: for races and processes."""
    with services.cloned_database(template_database) as url:
        yield services.settings(database_url=url, redis_url=services.empty_redis(), **setting_overrides)


@pytest.fixture
def committed_engine(committed_settings: Settings) -> Generator[Engine]:
    """Connections to the test's own database."""
    engine = patient_engine(committed_settings)
    yield engine
    engine.dispose()


@pytest.fixture
def superuser_engine(services: TestServices, committed_settings: Settings) -> Generator[Engine]:
    """Superuser's connections to the test's own database: to break what our own role cannot."""
    name = committed_settings.database_url.get_secret_value().rpartition("/")[2]
    engine = patient_engine(services.settings(database_url=services.postgres.database_url(name)))
    yield engine
    engine.dispose()


@pytest.fixture
def committed_sessions(committed_engine: Engine) -> Sessions:
    """Sessions that commit, in the test's own database."""
    return make_sessions(committed_engine)


@pytest.fixture
def dispatcher() -> RecordingDispatcher:
    """What the factories send by: nothing leaves it."""
    return RecordingDispatcher()


@pytest.fixture
def factories(request: pytest.FixtureRequest, dispatcher: RecordingDispatcher) -> Factories:
    """Rows in the database the test uses: its own if it asks for that, else the shared one."""
    committed = any(name.startswith("committed_") for name in request.fixturenames)
    return Factories(request.getfixturevalue("committed_sessions" if committed else "sessions"), dispatcher)


@pytest.fixture
def make_principal(factories: Factories) -> Callable[..., Principal]:
    """Make an organization, a user, a membership and a key."""
    return factories.principal


@pytest.fixture
def make_assistant(factories: Factories) -> Callable[..., Assistant]:
    """Make an assistant."""
    return factories.assistant


@pytest.fixture
def make_run(factories: Factories) -> Callable[..., Run]:
    """Make a run, in whatever status."""
    return factories.run


@pytest.fixture(scope="session")
def llm() -> Generator[LlmStub]:
    """The model provider of the stack."""
    with LlmStub() as stub:
        yield stub


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Kept:
    """What ends with the lane. A fixture that takes something from it lives no longer than a module."""
    return request.session.stash[KEPT]


@pytest.fixture(scope="module")
def stack(kept: Kept, tmp_path_factory: pytest.TempPathFactory, llm: LlmStub) -> Stack:
    """One `runyard dev` for all tests of a lane that ask for it."""
    env = environment(
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY="sk-stub",
        RUNYARD_MODEL_PATIENCE="2",  # or a test of a failing model waits for most of half a minute
        RUNYARD_STRUCTURES_DIR=str(STRUCTURES),
        RUNYARD_STRUCTURE_CALLABLES="json:dumps",
    )
    return kept.get(
        "stack", lambda: running_stack(tmp_path_factory.mktemp("stack"), "--concurrency", "20", env=env)
    )
