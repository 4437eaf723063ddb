"""The garbage collector of a server process."""

import gc
import os
import subprocess

import pytest

from shared.processes.garbage import THRESHOLDS, settle_garbage
from shared.processes.hidden import hidden_module


@pytest.fixture
def _restored():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_restored")
def test_what_is_loaded_is_set_aside_and_new_garbage_is_found():
    loaded = [{} for _ in range(1000)]
    settle_garbage()
    assert gc.get_freeze_count() > len(loaded)
    assert gc.get_threshold() == THRESHOLDS
    cycle = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1


def test_a_process_searches_less_before_it_loads_its_code(tmp_path):
    (tmp_path / "loading.py").write_text("import gc; print(gc.get_threshold())")
    answer = subprocess.run(
        hidden_module("loading"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout == f"{THRESHOLDS}\n"
