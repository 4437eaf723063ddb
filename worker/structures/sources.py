"""From a structure's code to the main file that executes it."""

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
LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "__pycache__")


OURS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sources:
    """What an operator allows structures to execute."""

    directory: Path | None  # whose folders are structures
    allowed: Allowed


@dataclass(frozen=True, slots=True)
class Start:
    """A main file with its arguments, and the directory it starts in."""

    arguments: Sequence[str]
    directory: Path
    path: Sequence[str] = ()  # where its modules are looked for first
    is_sample: bool = False  # nothing of anybody's but ours
    tells_output: bool = False  # by `worker.structures.finish`, as its last act


def prepare(
    sources: Sources,
    code: Mapping[str, Any],
    config_file: str | None,
    args: Sequence[str],
    *,
    home: Path,
    organization_id: uuid.UUID,
) -> Start:
    """Make ready to start what a structure's code names.

    Args:
        home: the run's own directory, into which a folder is copied.
        organization_id: whose run it is; not all may execute everything.

    Raises:
        InvalidConfigurationError: it is not executed here, not allowed, or not there.
    """
    if (why_not := unsupported(code)) is not None:
        raise InvalidConfigurationError(why_not)
    source = code.get("default") or {}
    if FOLDER in source:
        name = source[FOLDER]
        folder = _folder(
            sources.directory, name, is_allowed=sources.allowed.has_folder(name, organization_id)
        )
        return _from_folder(folder, config_file or CONFIG_FILE, args, home)
    if CALLABLE in source:
        target = source[CALLABLE]
        scope = _scope(sources.allowed, target, organization_id)
        return Start(
            [str(OURS / "call.py"), scope, target, *args], home, path=_added_path(), tells_output=True
        )
    return Start([str(OURS / "sample.py"), *args], home, is_sample=True, tells_output=True)


def _scope(allowed: Allowed, target: str, organization_id: uuid.UUID) -> str:
    """By what a callable is allowed: its own name, or its module, which then has to define it."""
    if not allowed.has_callable(target, organization_id):
        raise InvalidConfigurationError(
            f"{target!r} is not among the callables that the operator allows (RUNYARD_STRUCTURE_CALLABLES)."
        )
    return "named" if allowed.is_named(target, organization_id) else "defined"


def _added_path() -> list[str]:
    """Where the operator has the worker's interpreter look for modules, too; ours ignore variables."""
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _folder(directory: Path | None, name: str, *, is_allowed: bool) -> Path:
    if directory is None:
        raise InvalidConfigurationError(
            "The operator has set no directory of structures (RUNYARD_STRUCTURES_DIR)."
        )
    folder = (directory / name).resolve()
    if not is_allowed or folder.parent != directory.resolve() or not folder.is_dir():
        raise InvalidConfigurationError(f"There is no folder {name!r} among the operator's structures.")
    return folder


def _from_folder(folder: Path, config_file: str, args: Sequence[str], home: Path) -> Start:
    main_file = _main_file(folder, config_file)
    copy = home / folder.name
    try:
        shutil.copytree(folder, copy, symlinks=True, ignore=LEFT_OUT)
    except (OSError, shutil.Error) as error:
        raise InvalidConfigurationError(f"The folder {folder.name!r} cannot be copied: {error}.") from error
    return Start([main_file, *args], copy, path=[str((copy / main_file).parent), *_added_path()])


def _main_file(folder: Path, config_file: str) -> str:
    """The main file that a folder's configuration names, relative to the folder."""
    config = _config(folder, config_file)
    run = config.get("run")
    main_file = run.get("main_file") if isinstance(run, dict) else config.get("main_file")
    runtime = config.get("runtime", RUNTIMES[0])
    if runtime not in RUNTIMES:
        raise InvalidConfigurationError(f"{config_file}: the runtime {runtime!r} is not one of {RUNTIMES}.")
    if not isinstance(main_file, str):
        raise InvalidConfigurationError(f"{config_file} has to name its run.main_file.")
    path = _within(folder, main_file)
    if path is None:
        raise InvalidConfigurationError(f"{config_file}: there is no file {main_file!r} in the folder.")
    return main_file


def _config(folder: Path, config_file: str) -> Mapping[str, Any]:
    path = _within(folder, config_file)
    if path is None:
        raise InvalidConfigurationError(f"The folder {folder.name!r} holds no {config_file}.")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidConfigurationError(f"{config_file} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise InvalidConfigurationError(f"{config_file} is no mapping of names to values.")
    return config


def _within(folder: Path, name: str) -> Path | None:
    """A file of a folder; None if it is not there, or elsewhere."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None
