"""The garbage collector of a server process."""

import gc

import pytest

from shared.processes.garbage import THRESHOLDS, settle_garbage


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
