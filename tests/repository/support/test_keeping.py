import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.checkout import ROOT
from tests.support.keeping import Kept


def test_a_thing_is_made_once_and_ended_with_the_others():
    log, kept = [], Kept()

    @contextmanager
    def thing(name):
        log.append(f"made {name}")
        yield name
        log.append(f"ended {name}")

    for name in ("one", "other", "one"):
        assert kept.get(name, lambda name=name: thing(name)) == name
    kept.end()
    assert log == ["made one", "made other", "ended other", "ended one"]
    assert kept.get("one", lambda: thing("one")) == "one"
    assert log[-1] == "made one"


def test_what_fails_to_end_is_told_and_forgotten():
    kept = Kept()

    @contextmanager
    def broken():
        yield
        raise RuntimeError

    kept.get("broken", broken)
    with pytest.raises(RuntimeError):
        kept.end()
    kept.end()


TEST = """
import pytest
from contextlib import contextmanager

@contextmanager
def thing():
    print("made")
    yield
    print("ended")

@pytest.fixture(scope="module")
def one(kept):
    return kept.get("thing", thing)

@pytest.mark.parametrize("number", range(2))
def test_it(one, number):
    print(__name__.rpartition(".")[2])
"""


def without_options(environment):
    """Without what is meant for the run that this test is part of."""
    return {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}


def test_what_a_lane_shares_ends_after_its_last_test(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    for path in ("tests/e2e/test_a.py", "tests/e2e/test_b.py", "tests/conformance/test_c.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:randomly", "tests"],
        cwd=tmp_path,
        env={**without_options(os.environ), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.lstrip(".") for line in done.stdout.splitlines() if line.lstrip(".")]
    told = [line for line in said if line in {"made", "ended"} or line.startswith("test_")]
    lanes = [lane.split() for lane in " ".join(told).split("ended")]
    one = ["made", *["test_a"] * 2, *["test_b"] * 2]
    other = ["made", *["test_c"] * 2]
    assert lanes in ([one, other, []], [other, one, []])
