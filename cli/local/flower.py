"""The command and environment of Flower: address, port, credentials."""

from collections.abc import Mapping
from typing import Final

from cli.local.private_files import demand_own_directory
from shared.contradictions import FLOWER_CREDENTIALS, open_flower
from shared.errors import RunyardError
from shared.processes.hidden import hidden_module
from shared.settings import Settings

COMMAND: Final = (*hidden_module("celery"), "-A", "worker.app", "flower")
MAX_TASKS: Final = "10000"  # kept in Flower's memory

SAVE_INTERVAL: Final = "60000"  # milliseconds between two saves of the state; Flower stands still for each


class FlowerUnprotectedError(RunyardError):
    """Strangers could use Flower."""


def flower_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for `COMMAND`. It carries the credentials, which the process table would show.

    Without credentials Flower shows no buttons.

    Raises:
        FlowerUnprotectedError: Flower would be open to other machines without credentials.
        NotOursError: another user could write the file of its state, which Flower executes.
        FileNotFoundError: the directory of that file does not exist.
    """
    if refusal := open_flower(settings, environment):
        raise FlowerUnprotectedError(refusal)
    additions = {
        "FLOWER_ADDRESS": settings.flower_host,
        "FLOWER_PORT": str(settings.flower_port),
    }
    if settings.flower_basic_auth is not None:
        additions["FLOWER_BASIC_AUTH"] = settings.flower_basic_auth.get_secret_value()
    elif not any(map(environment.get, FLOWER_CREDENTIALS)):
        additions["FLOWER_READ_ONLY"] = "true"
    if settings.flower_url_prefix:
        additions["FLOWER_URL_PREFIX"] = settings.flower_url_prefix
    if settings.flower_state is not None:
        demand_own_directory(settings.flower_state.parent)
        additions |= {
            "FLOWER_PERSISTENT": "true",
            "FLOWER_DB": str(settings.flower_state),
            "FLOWER_STATE_SAVE_INTERVAL": SAVE_INTERVAL,
        }
    return {"FLOWER_MAX_TASKS": MAX_TASKS, **environment, **additions}
