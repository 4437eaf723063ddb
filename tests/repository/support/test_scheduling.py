import os
import subprocess
import sys
from collections import defaultdict

from tests.support.checkout import ROOT
from tests.support.scheduling import APART, LANES, ORDER, SLOW_MODULES, lane_of, rank, unit_of

CONFTEST = """
from tests.support.scheduling import LaneScheduling

def pytest_xdist_make_scheduler(config, log):
    return LaneScheduling(config, log)
"""
TEST = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    module = pathlib.Path(__file__).stem
    pathlib.Path(os.environ["RAN_IN"], f"{module}-{number}-{os.getpid()}").touch()
"""
MODULES = {
    "tests/chaos/test_accept.py": "outages",
    "tests/chaos/test_outages.py": "outages",
    "tests/e2e/test_a_command.py": "e2e",
    "tests/e2e/test_another_command.py": "e2e",
    "tests/unit/test_a_unit.py": "test_a_unit",
    "tests/unit/test_another_unit.py": "test_another_unit",
}


def test_each_lane_runs_in_one_process_and_any_other_module_in_any(tmp_path):
    ran_in = tmp_path / "ran"
    ran_in.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for module in MODULES:
        path = tmp_path / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST)
    options = ["-q", "-n", "2", "-p", "xdist", "--rootdir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests"],
        cwd=tmp_path,
        env={**environment, "RAN_IN": str(ran_in), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    processes = defaultdict(set)
    lanes = {module.rpartition("/")[2].removesuffix(".py"): lane for module, lane in MODULES.items()}
    for path in ran_in.iterdir():
        module, _, process = path.name.split("-")
        processes[lanes[module]].add(process)
    assert {lane: len(which) for lane, which in processes.items()} == dict.fromkeys(lanes.values(), 1)
    assert len(set.union(*processes.values())) == 2, "one of the processes has run nothing"


def test_lanes_come_before_modules_that_any_process_may_run():
    paths = [
        "tests/unit/test_a.py::test_x",
        "tests/integration/api/test_a.py::test_x",
        "tests/e2e/test_a.py::test_x",
    ]
    assert sorted(paths, key=rank) == list(reversed(paths))
    assert [lane_of(path) for path in paths] == [None, None, "e2e"]


def test_every_path_of_a_lane_is_there():
    paths = [*APART, *(prefix for prefix, _ in LANES), *SLOW_MODULES]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_lane_has_its_place():
    assert sorted(ORDER) == sorted({lane for _, lane in LANES})


def test_tests_that_start_systems_of_their_own_stand_apart():
    one, other = (f"{APART[0]}::test_x[{name}]" for name in ("one", "other"))
    assert unit_of(one) != unit_of(other)
    assert rank(one) < rank("tests/chaos/test_hostile_hour.py::test_x")
