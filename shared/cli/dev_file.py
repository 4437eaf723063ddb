"""The file by which `runyard dev` tells this user's programs where everything is."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from shared.errors import RunyardError
from shared.private_files import NotOursError, read_private, write_private

NAME: Final = "dev.json"
DATA_DIR: Final = Path(".runyard")


class UnreadableDevFileError(RunyardError):
    """The file that `runyard dev` wrote cannot be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not what this release writes; start `runyard dev` again.")


class UntrustedDevFileError(UnreadableDevFileError):
    """Somebody else may have written the file, to be sent what is ours."""

    def __init__(self, error: NotOursError) -> None:
        RunyardError.__init__(self, error.message)


@dataclass(frozen=True, slots=True)
class DevFile:
    """What a running `runyard dev` has to say."""

    api_url: str
    api_key: str
    flower_url: str  # with user and password
    database_url: str
    redis_url: str
    pids: dict[str, int | None]  # None for a server that `dev` did not start

    def write(self, directory: Path) -> None:
        write_private(directory / NAME, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")


def find_dev_file(directory: Path) -> DevFile | None:
    """Read the file in a directory; None if no `runyard dev` runs on it.

    Raises:
        UnreadableDevFileError: it is there, but it is not such a file.
        UntrustedDevFileError: somebody else may have written it.
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
