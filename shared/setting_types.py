"""Types of settings: how the text of a variable is read, and which values it may have."""

import re
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationError

from shared.addresses.web import parse_network, parse_origin, parse_root_path
from shared.durations import FORMS, TooLongError, parse_duration
from shared.log_levels import LEVELS, parse_levels
from shared.terms import ModelRules
from shared.workers import check_name, check_queue, check_queues

SHORTEST_RETENTION: Final = timedelta(hours=1)
"""A caller may wait for the end of a run for so long, come back to its stream, or repeat a request."""

MIN_TOKEN: Final = 16  # characters

_TIMEDELTA: Final = TypeAdapter(timedelta)


def names_of(listed: str) -> list[str]:
    """The names of a list separated by commas."""
    return [name for part in listed.split(",") if (name := part.strip())]


def _duration(value: object) -> object:
    """Read a duration of the environment: `20s`, a bare number of seconds, or ISO 8601 (`PT20S`).

    Raises:
        ValueError: the text is no duration, or a longer one than can be kept.
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except TooLongError:
        raise
    except ValueError:
        try:
            return _TIMEDELTA.validate_python(_number(value))
        except ValidationError:
            raise ValueError(f"must be {FORMS}, a number of seconds, or ISO 8601 such as PT20S") from None


def _number(text: str) -> float | str:
    """Read a number in a form such as `1e3`; return any other text unchanged."""
    try:
        return float(text)
    except ValueError:
        return text


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be more than 0")
    return value


def _retention(value: object) -> object:
    """Read a retention; 0 is none."""
    duration = _duration(value)
    if isinstance(duration, timedelta):
        if not duration:
            return None
        if duration < SHORTEST_RETENTION:
            raise ValueError("must be 0 to keep everything, or at least 1h")
    return duration


def _log_format(value: str) -> str:
    return _one_of(value, ("json", "console"))


def _log_level(value: str) -> str:
    return _one_of(value.upper(), LEVELS)


def _log_levels(value: str) -> str:
    parse_levels(value)
    return value


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def _port(value: object) -> object:
    """Refuse an address: Kubernetes makes a variable of that name for a service `runyard-api`."""
    if isinstance(value, str) and "://" in value:
        raise ValueError(
            "must be a number; if Kubernetes has made the variable for a service of that name, set"
            " `enableServiceLinks: false` in the pod"
        )
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        is_one = False
    if not is_one:
        raise ValueError("must be http://host:port or https://host")
    return value


def _origins(value: str) -> str:
    return ",".join(map(parse_origin, names_of(value)))


def _networks(value: str) -> str:
    return ",".join(str(parse_network(name)) for name in names_of(value))


def _credentials(value: SecretStr) -> SecretStr:
    """Check Flower's credentials: Flower accepts any text, but most texts let nobody in."""
    for pair in value.get_secret_value().split(","):
        user, separator, password = pair.partition(":")
        if not (user.strip() and separator and password.strip()):
            raise ValueError("must be user:password; separate several by commas")
    return value


def _header_fields(value: SecretStr) -> SecretStr:
    for pair in filter(None, map(str.strip, value.get_secret_value().split(","))):
        name, separator, _ = pair.partition("=")
        if not (separator and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name.strip())):
            raise ValueError("must be name=value, separated by commas")
    return value


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < MIN_TOKEN or not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(f"must have {MIN_TOKEN} printable characters or more, and no space")
    return value


def _model_rules(text: str) -> str:
    ModelRules.parse(text)
    return text


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Retention = Annotated[timedelta | None, BeforeValidator(_retention)]

LogFormat = Annotated[str, AfterValidator(_log_format)]
LogLevel = Annotated[str, AfterValidator(_log_level)]
LogLevels = Annotated[str, AfterValidator(_log_levels)]

Port = Annotated[int, BeforeValidator(_port), Field(ge=0, le=65535)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
RootPath = Annotated[str, AfterValidator(parse_root_path)]
Origins = Annotated[str, AfterValidator(_origins)]
Networks = Annotated[str, AfterValidator(_networks)]

Credentials = Annotated[SecretStr, AfterValidator(_credentials)]
HeaderFields = Annotated[SecretStr, AfterValidator(_header_fields)]
Token = Annotated[SecretStr, AfterValidator(_token)]

WorkerName = Annotated[str, AfterValidator(check_name)]
QueueName = Annotated[str, AfterValidator(check_queue)]
QueueNames = Annotated[str, AfterValidator(check_queues)]
AllowedModels = Annotated[str, AfterValidator(_model_rules)]
