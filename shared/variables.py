"""Variables of settings: their names, secrets in files, and variables that are no settings."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from shared.errors import RunyardError

PREFIX: Final = "RUNYARD_"
"""The prefix of every setting's variable."""

FILE: Final = "_FILE"
"""The end of the name of a variable that names the file of a secret."""

LARGEST_SECRET: Final = 65_536
"""Bytes of the largest file of a secret."""

NEARLY: Final = 0.6
"""The similarity, as `difflib` measures it, from which an unknown name is taken for a misspelt one."""

MAX_NAMED: Final = 5
"""Unknown variables in one sentence."""

NOT_SETTINGS: Final = frozenset(
    {
        "RUNYARD_API_KEY",  # the command line's
        "RUNYARD_API_URL",  # the command line's
        "RUNYARD_IMAGE_TAG",  # of deploy/compose.yaml
        "RUNYARD_PROGRAM",  # marks the programs of structures
    }
)
"""Variables with the prefix that are no settings, and have a meaning nevertheless."""

_OF_A_SERVICE: Final = re.compile(
    r"RUNYARD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes makes for a service whose name begins with `runyard`."""

_ADDRESS_OF_A_SERVICE: Final = re.compile(r"(tcp|udp|sctp)://")
"""The beginning of the value of a further one, `RUNYARD_…_PORT`."""


class UnknownVariableError(RunyardError):
    """The environment sets variables with the prefix that are no settings."""

    def __init__(self, unknown: Mapping[str, str | None]) -> None:
        said = [
            f"{name} is not a setting: {f'did you mean {nearest}?' if nearest else 'remove it.'}"
            for name, nearest in list(unknown.items())[:MAX_NAMED]
        ]
        if (more := len(unknown) - MAX_NAMED) > 0:
            said.append(f"{more} more are none either.")
        super().__init__(" ".join(said))


class SecretFileError(RunyardError):
    """The file of a secret cannot be used."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")


class SecretGivenTwiceError(RunyardError):
    """A secret stands in its variable and in a file."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"{variable} and {variable}{FILE} are both set: remove one of them.")


def variable_of(name: str) -> str:
    """The variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which is masked wherever it is shown."""
    return _has_secret(field.annotation)


def _has_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_has_secret, get_args(annotation)))


def without_line_ends(text: str) -> str:
    """A text without the line ends at its end: many a secret is stored with one."""
    return text.rstrip("\r\n")


def value_of(variable: str, environment: Mapping[str, str]) -> str:
    """The value of a variable, in whatever case it is written, without line ends; empty without one."""
    if found := without_line_ends(environment.get(variable, "")):
        return found
    spelled = (value for name, value in environment.items() if name.upper() == variable)
    return next(filter(None, map(without_line_ends, spelled)), "")


def read_secret(variable: str, path: Path) -> str:
    """Read the file of a secret. Line ends at the end of the file do not belong to the secret.

    Args:
        variable: the variable that names the file.
        path: the file; regular, and of `LARGEST_SECRET` bytes at the most.

    Raises:
        SecretFileError: the file cannot be read, is no regular file, is too large, empty, or no text.
    """
    try:
        # Not waiting for a writer, if it is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SecretFileError(variable, f"{path} is not a regular file.")
            content = file.read(LARGEST_SECRET + 1)
    except OSError as error:
        raise SecretFileError(variable, f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST_SECRET:
        raise SecretFileError(variable, f"{path} is larger than {LARGEST_SECRET} bytes.")
    try:
        secret = without_line_ends(content.decode())
    except UnicodeDecodeError:
        raise SecretFileError(variable, f"{path} is not text in UTF-8.") from None
    if not secret:
        raise SecretFileError(variable, f"{path} is empty.")
    return secret


class Environment(EnvSettingsSource):
    """The settings that the environment gives by `RUNYARD_<NAME>`, without line ends at their ends."""

    def __call__(self) -> dict[str, Any]:
        """Return the values by the names of their settings."""
        return {
            name: without_line_ends(value) if isinstance(value, str) else value
            for name, value in super().__call__().items()
        }


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets that the environment gives by `RUNYARD_<NAME>_FILE`, the path of a file."""

    def __init__(
        self, settings_class: type[BaseSettings], environment: Mapping[str, str] = os.environ
    ) -> None:
        super().__init__(settings_class)
        self._environment = environment

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the file of a setting, or None without one.

        Raises:
            SecretFileError: the file cannot be used.
            SecretGivenTwiceError: the environment has the secret itself, too.
        """
        variable = variable_of(field_name)
        path = value_of(f"{variable}{FILE}", self._environment) if is_secret(field) else ""
        if not path:
            return None, field_name, False
        if value_of(variable, self._environment):
            raise SecretGivenTwiceError(variable)
        return read_secret(f"{variable}{FILE}", Path(path)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets by the names of their settings.

        Raises:
            SecretFileError, SecretGivenTwiceError: see `get_field_value`.
        """
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: secret for name, secret in found.items() if secret is not None}


def variables_of(fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    """Yield the variables of some settings, and those that name files of secrets."""
    for name, field in fields.items():
        yield variable_of(name)
        if is_secret(field):
            yield f"{variable_of(name)}{FILE}"


def unknown_variables(known: Collection[str], environment: Mapping[str, str]) -> dict[str, str | None]:
    """Find the variables with the prefix that are no settings, each with the setting it resembles most.

    What Kubernetes makes from the names of services is no mistake.

    Args:
        known: the variables of all settings.
        environment: the variables of the process.
    """
    meant = frozenset(known) | NOT_SETTINGS
    endings = [name.removeprefix(PREFIX) for name in known]
    unknown = {}
    for name, value in sorted(environment.items()):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in meant or _is_of_a_service(upper, value):
            continue
        nearest = get_close_matches(upper.removeprefix(PREFIX), endings, n=1, cutoff=NEARLY)
        unknown[name] = f"{PREFIX}{nearest[0]}" if nearest else None
    return unknown


def _is_of_a_service(name: str, value: str) -> bool:
    if _OF_A_SERVICE.fullmatch(name):
        return True
    return name.endswith("_PORT") and _ADDRESS_OF_A_SERVICE.match(value) is not None
