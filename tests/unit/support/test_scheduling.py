import os
import subprocess
import sys
from collections import defaultdict

CONFTEST = """
from tests.support.scheduling import StackLaneScheduling

def pytest_xdist_make_scheduler(config, log):
    return StackLaneScheduling(config, log)
"""
TEST = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_it(number):
    folder = pathlib.Path(__file__).parent.name
    pathlib.Path(os.environ["RAN_IN"], f"{folder}-{number}-{os.getpid()}").touch()
"""


def test_all_tests_that_need_a_whole_stack_run_in_one_process_and_the_rest_beside_them(tmp_path):
    ran_in = tmp_path / "ran"
    ran_in.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for folder in ("unit", "e2e", "chaos", "conformance"):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / f"test_of_{folder}.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:randomly",
        "--rootdir",
        str(tmp_path),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests"],
        cwd=tmp_path,
        env={**environment, "RAN_IN": str(ran_in)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    processes = defaultdict(set)
    for path in ran_in.iterdir():
        folder, _, process = path.name.split("-")
        processes["unit" if folder == "unit" else "stack"].add(process)
    assert len(processes["stack"]) == 1
    assert processes["unit"] - processes["stack"], "the other process has taken none of the rest"
