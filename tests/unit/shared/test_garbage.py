"""The garbage collector of a server process."""

import gc
import os
import subprocess

import pytest

from shared.processes.garbage import LOADING, THRESHOLDS, load_unsearched, settle_garbage
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


@pytest.mark.usefixtures("_restored")
def test_nothing_is_searched_while_a_process_loads_its_code():
    load_unsearched()
    searches = []
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    try:
        loaded = [{} for _ in range(LOADING[0] // 2)]
    finally:
        gc.callbacks.pop()
    assert loaded
    assert searches == []


def test_a_process_begins_to_search_when_its_code_is_loaded(tmp_path):
    (tmp_path / "loading.py").write_text("import gc; print(gc.get_threshold())")
    answer = subprocess.run(
        hidden_module("loading"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer.stdout == f"{LOADING}\n"
