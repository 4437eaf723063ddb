"""How Flower is started: where it listens, and by whose leave."""

from collections.abc import Mapping
from typing import Final

from shared.errors import RunyardError
from shared.processes.hidden import hidden_module
from shared.processes.ports import is_loopback
from shared.settings import Settings

COMMAND: Final = (*hidden_module("celery"), "-A", "worker.app", "flower")
MAX_TASKS: Final = "10000"  # kept in Flower's memory
CREDENTIALS: Final = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")
"""The variables by which Flower itself can be told whom to let in."""


class FlowerUnprotectedError(RunyardError):
    """Flower can cancel runs: outside loopback it needs RUNYARD_FLOWER_BASIC_AUTH=user:password."""


def flower_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for `COMMAND`; what is secret goes here, where the process table does not show it.

    Raises:
        FlowerUnprotectedError: it would be open to other machines.
    """
    additions = {
        "FLOWER_ADDRESS": settings.flower_host,
        "FLOWER_PORT": str(settings.flower_port),
    }
    if settings.flower_basic_auth is not None:
        additions["FLOWER_BASIC_AUTH"] = settings.flower_basic_auth.get_secret_value()
    elif not is_loopback(settings.flower_host) and not any(map(environment.get, CREDENTIALS)):
        raise FlowerUnprotectedError
    return {"FLOWER_MAX_TASKS": MAX_TASKS, **environment, **additions}
