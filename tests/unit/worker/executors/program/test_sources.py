"""The sources of a structure."""

import errno
import os
import shutil
import uuid

import pytest

from shared.settings import Settings
from shared.structures.allowed import Allowed
from worker.executors.base import InvalidConfigurationError
from worker.executors.program.sources import Sources, prepare


def full(source, target, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)


def test_a_folder_for_which_there_is_no_room_is_told_in_a_sentence(tmp_path, monkeypatch):
    """Without the paths of the worker, and not once for each of its files."""
    folder = tmp_path / "structures" / "mine"
    (folder / "data").mkdir(parents=True)
    (folder / "structure_config.yaml").write_text("run: {main_file: data/0.py}")
    for number in range(300):
        (folder / "data" / f"{number}.py").touch()
    monkeypatch.setattr(shutil, "copyfile", full)
    allowed = Allowed.of(Settings(database_url="postgresql://", redis_url="redis://"))
    with pytest.raises(InvalidConfigurationError) as refused:
        prepare(
            Sources(folder.parent, allowed),
            {"default": {"folder": "mine"}},
            None,
            [],
            home=tmp_path,
            organization_id=uuid.uuid4(),
        )
    said = str(refused.value)
    assert said.startswith("The folder 'mine' cannot be copied: ")
    assert said.endswith(", and 300 more: [Errno 28] No space left on device.")
    assert str(tmp_path) not in said
