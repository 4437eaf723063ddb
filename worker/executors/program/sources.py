"""The sources of a structure: from its code to the main file that executes it."""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from shared.structures.allowed import Allowed
from shared.structures.code import CALLABLE, FOLDER, unsupported
from worker.executors.base import InvalidConfigurationError

CONFIG_FILE: Final = "structure_config.yaml"
RUNTIMES: Final = ("python3", "python")
NOT_COPIED: Final = shutil.ignore_patterns(".git", ".venv", "__pycache__")


SCRIPTS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sources:
    """The code that the operator allows structures to execute."""

    directory: Path | None  # each folder of it is a structure
    allowed: Allowed


@dataclass(frozen=True, slots=True)
class Start:
    """A main file with its arguments, and its current directory."""

    arguments: Sequence[str]
    directory: Path
    path: Sequence[str] = ()  # searched first for modules
    is_sample: bool = False  # our own code alone
    posts_output: bool = False  # by `worker.executors.program.finish`, at its end


def prepare(
    sources: Sources,
    code: Mapping[str, Any],
    config_file: str | None,
    args: Sequence[str],
    *,
    home: Path,
    organization_id: uuid.UUID,
) -> Start:
    """Prepare the start of a structure's code.

    Args:
        home: the run's own directory, for the copy of a folder.
        organization_id: of the run; the operator may allow code to some organizations only.

    Raises:
        InvalidConfigurationError: the code is unsupported, not allowed, or missing.
    """
    if (why_not := unsupported(code)) is not None:
        raise InvalidConfigurationError(why_not)
    source = code.get("default") or {}
    if FOLDER in source:
        return _from_folder(
            sources.directory,
            source[FOLDER],
            config_file or CONFIG_FILE,
            args,
            home,
            is_allowed=sources.allowed.has_folder(source[FOLDER], organization_id),
        )
    if CALLABLE in source:
        target = source[CALLABLE]
        scope = _scope(sources.allowed, target, organization_id)
        return Start(
            [str(SCRIPTS / "call.py"), scope, target, *args], home, path=_added_path(), posts_output=True
        )
    return Start([str(SCRIPTS / "sample.py"), *args], home, is_sample=True, posts_output=True)


def _scope(allowed: Allowed, target: str, organization_id: uuid.UUID) -> str:
    """Return `named` if the callable itself is allowed, `defined` if its module is, which must define it."""
    if not allowed.has_callable(target, organization_id):
        raise InvalidConfigurationError(
            f"{target!r} is not among the callables that the operator allows (RUNYARD_STRUCTURE_CALLABLES)."
        )
    return "named" if allowed.is_named(target, organization_id) else "defined"


def _added_path() -> list[str]:
    """Return the worker's PYTHONPATH, since programs are started without variables."""
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _from_folder(
    directory: Path | None,
    name: str,
    config_file: str,
    args: Sequence[str],
    home: Path,
    *,
    is_allowed: bool,
) -> Start:
    """Copy a folder of the operator's into the run's home, and start its main file."""
    if directory is None:
        raise InvalidConfigurationError(
            "The operator has set no directory of structures (RUNYARD_STRUCTURES_DIR)."
        )
    folder = (directory / name).resolve()
    if not is_allowed or folder.parent != directory.resolve() or not folder.is_dir():
        raise InvalidConfigurationError(f"There is no folder {name!r} among the operator's structures.")
    main_file = _main_file(folder, config_file)
    copy = home / folder.name
    try:
        shutil.copytree(folder, copy, symlinks=True, ignore=NOT_COPIED)
    except OSError as error:
        why = _why_not_copied(error, folder)
        raise InvalidConfigurationError(f"The folder {folder.name!r} cannot be copied: {why}.") from error
    return Start([main_file, *args], copy, path=[str((copy / main_file).parent), *_added_path()])


def _why_not_copied(error: OSError, folder: Path) -> str:
    """Return the error of a copy; of many files, that of the first, and their number."""
    if not isinstance(error, shutil.Error):
        return error.strerror or str(error)
    (source, _, why), *more = error.args[0]
    others = f", and {len(more)} more" if more else ""
    return f"{os.path.relpath(source, folder)}{others}: {why.partition(': ')[0]}"


def _main_file(folder: Path, config_file: str) -> str:
    """Return the main file of a folder's configuration, relative to the folder."""
    config_path = _within(folder, config_file)
    if config_path is None:
        raise InvalidConfigurationError(f"The folder {folder.name!r} holds no {config_file}.")
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidConfigurationError(f"{config_file} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise InvalidConfigurationError(f"{config_file} is no mapping of names to values.")
    run = config.get("run")
    main_file = run.get("main_file") if isinstance(run, dict) else config.get("main_file")
    runtime = config.get("runtime", RUNTIMES[0])
    if runtime not in RUNTIMES:
        raise InvalidConfigurationError(f"{config_file}: the runtime {runtime!r} is not one of {RUNTIMES}.")
    if not isinstance(main_file, str):
        raise InvalidConfigurationError(f"{config_file} has to name its run.main_file.")
    if _within(folder, main_file) is None:
        raise InvalidConfigurationError(f"{config_file}: there is no file {main_file!r} in the folder.")
    return main_file


def _within(folder: Path, name: str) -> Path | None:
    """Return a file of the folder; None if it is missing or outside."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None
