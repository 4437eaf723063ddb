"""Checks of settings at a start: they must not contradict each other, nor lack what the process needs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from shared.addresses.web import is_loopback
from shared.errors import RunyardError
from shared.variables import variable_of

STOP_MARGIN: Final = timedelta(seconds=5)
"""The time that a worker needs for its end, beside the graces of its runs."""


LEAST_API_POOL: Final = 10
"""Connections that a process of the API needs; `api.traffic.lanes` divides them."""

FLOWER_CREDENTIALS: Final = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH")
"""Flower's own variables for credentials."""


class ContradictingSettingsError(RunyardError):
    """Settings contradict each other."""


@dataclass(frozen=True, slots=True)
class Order:
    """Two settings of which the first must not be larger than the second; either may have no value."""

    less: str
    more: str
    why: str
    is_strict: bool = False  # they must not be equal either

    def broken_by(self, settings: Any) -> str | None:
        """The contradiction in one sentence, or None."""
        less, more = (getattr(settings, name) for name in (self.less, self.more))
        if less is None or more is None or (less < more if self.is_strict else less <= more):
            return None
        must = "be less than" if self.is_strict else "not be more than"
        return f"{_said(self.less, less)} must {must} {_said(self.more, more)}: {self.why}."


def _stops_in_time(settings: Any) -> str | None:
    limit = settings.termination_grace
    needed = settings.drain_grace + settings.cancel_grace + STOP_MARGIN
    if limit is None or needed <= limit:
        return None
    graces = ", ".join(_said(name, getattr(settings, name)) for name in ("drain_grace", "cancel_grace"))
    return (
        f"{_said('termination_grace', limit)} must be at least the sum of {graces} and"
        f" {_shown(STOP_MARGIN)}: a worker would be killed while its runs end."
    )


def _has_users(settings: Any) -> str | None:
    executes = settings.structures_dir is not None or bool(settings.structure_callables)
    if (
        not executes
        or settings.structure_sandbox != "user"
        or settings.concurrency <= settings.structure_uids
    ):
        return None
    return (
        f"{_said('structure_uids', settings.structure_uids)} must not be less than"
        f" {_said('concurrency', settings.concurrency)}: each program needs a user id of its own."
    )


RULES: Final[tuple[Callable[[Any], str | None], ...]] = (
    Order("heartbeat", "lease_ttl", "a lease would lapse before it is renewed", is_strict=True).broken_by,
    _stops_in_time,
    Order(
        "max_duration", "max_duration_cap", "the default would be more than a caller may ask for"
    ).broken_by,
    Order("queue_ttl", "queue_ttl_cap", "the default would be more than a caller may ask for").broken_by,
    Order(
        "max_attempts", "max_attempts_cap", "the default would be more than a caller may ask for"
    ).broken_by,
    Order(
        "republish_after",
        "queue_ttl",
        "a run whose task is lost would expire before it is sent again",
        is_strict=True,
    ).broken_by,
    Order("max_url_bytes", "max_header_bytes", "the line with the URL counts as a header").broken_by,
    Order("max_body_bytes", "max_body_memory", "the largest allowed body would not fit").broken_by,
    Order("max_address_connections", "max_connections", "one address would have no limit").broken_by,
    Order("lock_timeout", "statement_timeout", "a statement would end before its wait for a lock").broken_by,
    Order(
        "model_max_tokens", "model_window", "an answer would not fit into the window", is_strict=True
    ).broken_by,
    _has_users,
)
"""Each returns a contradiction in one sentence that names all settings it is about, or None."""


def open_metrics(settings: Any) -> str | None:
    """What is wrong if strangers could read the metrics of a process, in one sentence, or None."""
    is_open = settings.metrics_port is not None and not is_loopback(settings.metrics_host)
    if not is_open or settings.metrics_token is not None:
        return None
    return "Outside loopback, RUNYARD_METRICS_HOST needs RUNYARD_METRICS_TOKEN."


def small_api_pool(settings: Any) -> str | None:
    """What is wrong if the API has too few connections to PostgreSQL, in one sentence, or None."""
    if settings.database_pool >= LEAST_API_POOL:
        return None
    pool = _said("database_pool", settings.database_pool)
    return f"{pool} is too small for the API, which needs {LEAST_API_POOL}."


def open_flower(settings: Any, environment: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong if strangers could use Flower, in one sentence, or None."""
    has_credentials = settings.flower_basic_auth is not None or any(map(environment.get, FLOWER_CREDENTIALS))
    if has_credentials or is_loopback(settings.flower_host):
        return None
    return "Flower can cancel runs: outside loopback it needs RUNYARD_FLOWER_BASIC_AUTH=user:password."


OF_ONE_PROCESS: Final[tuple[Callable[[Any], str | None], ...]] = (
    open_metrics,
    small_api_pool,
    open_flower,
)
"""What a single process demands when it starts: the API, or Flower, or those that serve metrics."""


def unmet_demands(settings: Any) -> list[str]:
    """Return what keeps a single process from its start, of some settings and the environment.

    Args:
        settings: `shared.settings.Settings`.
    """
    return [said for rule in OF_ONE_PROCESS if (said := rule(settings)) is not None]


def contradictions(settings: Any) -> list[str]:
    """Return all contradictions among some settings.

    Args:
        settings: `shared.settings.Settings`.
    """
    return [said for rule in RULES if (said := rule(settings)) is not None]


def _said(name: str, value: Any) -> str:
    return f"{variable_of(name)} ({_shown(value)})"


def _shown(value: Any) -> str:
    return f"{value.total_seconds():.10g} s" if isinstance(value, timedelta) else str(value)
