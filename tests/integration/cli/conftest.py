"""Commands, without the time that their start takes."""

from collections.abc import Generator

import pytest

from tests.support.commands import Commands, loaded_commands


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Generator[Commands]:
    """The process that executes the commands of these tests."""
    with loaded_commands(tmp_path_factory.mktemp("commands")) as running:
        yield running
