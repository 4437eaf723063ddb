"""What can hold programs on the machine that executes the tests."""

from pydantic import SecretStr

from shared.settings import Settings
from shared.structures.sandbox import Choice, choose


def choice_of(mode: str) -> Choice:
    """Whether a mode works here."""
    nowhere = SecretStr("none://")
    return choose(Settings(database_url=nowhere, redis_url=nowhere, structure_sandbox=mode))


def sandbox_here() -> str:
    """The mode that programs of the tests are executed in: the strongest that works, or none."""
    return "auto" if choice_of("auto").sandbox else "none"
