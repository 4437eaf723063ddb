"""Where the servers of a test session keep their data."""

import subprocess
import sys

from tests.support import services
from tests.support.services import fast_directory


def test_it_is_in_memory_and_gone_with_the_block(tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    with fast_directory(tmp_path / "disk", memory=memory) as directory:
        (directory / "data").write_text("data")
        assert directory.parent == memory
    assert list(memory.iterdir()) == []


def test_without_such_a_file_system_or_without_room_it_is_on_the_disk(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    with fast_directory(disk, memory=tmp_path / "missing") as directory:
        assert directory == disk
    monkeypatch.setattr(services, "ROOM", 2**62)
    with fast_directory(disk, memory=tmp_path) as directory:
        assert directory == disk


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_uses_is_not(tmp_path):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    (tmp_path / f"runyard-tests-{ended.pid}-left").mkdir()
    with (
        fast_directory(tmp_path / "disk", memory=tmp_path) as first,
        fast_directory(tmp_path / "disk", memory=tmp_path) as second,
    ):
        assert {*tmp_path.iterdir()} == {first, second}
