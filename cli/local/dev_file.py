"""dev.json: addresses, credentials and process ids of a running `runyard dev`, for this user's programs."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import orjson

from cli.local.private_files import NotOursError, read_private, write_private
from shared.errors import RunyardError

NAME: Final = "dev.json"
DATA_DIR: Final = Path(".runyard")


class UnreadableDevFileError(RunyardError):
    """The file of `runyard dev` cannot be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} has not the format of this release: start `runyard dev` again.")


class UntrustedDevFileError(UnreadableDevFileError):
    """Another user may have written the file, in order to be sent this user's keys."""

    def __init__(self, error: NotOursError) -> None:
        RunyardError.__init__(self, error.message)


@dataclass(frozen=True, slots=True)
class DevFile:
    """The content of dev.json."""

    api_url: str
    api_key: str
    flower_url: str  # with user and password
    database_url: str
    redis_url: str
    pids: dict[str, int | None]  # None for a server that `dev` did not start
    metrics_urls: dict[str, str] = field(default_factory=dict)  # by process; empty without metrics

    def write(self, directory: Path) -> None:
        write_private(directory / NAME, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")


def find_dev_file(directory: Path) -> DevFile | None:
    """Read the file in a directory; None if no `runyard dev` runs on it.

    Raises:
        UnreadableDevFileError: the file has another format.
        UntrustedDevFileError: another user may have written the file.
    """
    path = directory / NAME
    try:
        return DevFile(**orjson.loads(read_private(path)))
    except FileNotFoundError:
        return None
    except NotOursError as error:
        raise UntrustedDevFileError(error) from error
    except (orjson.JSONDecodeError, TypeError) as error:
        raise UnreadableDevFileError(path) from error


def remove_dev_file(directory: Path) -> None:
    (directory / NAME).unlink(missing_ok=True)
