"""The drill: it finds nothing wrong with the product, and what is wrong with a broken one."""

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.support.stack import RUNYARD, environment

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

BROKEN = 3  # the exit code for a broken promise

ONLY_IN = """
    import sys

    if {module!r} in sys.orig_argv:
"""

NEVER_TAKES_OVER = (
    "worker.reconciler.reconciler",
    """
    from shared.runs import queries

    queries.lock_lost = lambda *_, **__: []
    queries.lock_undelivered = lambda *_, **__: []
    """,
)

DROPS_THE_TAIL = (
    "api",
    """
    from api.streaming.batch import Batch
    from api.streaming.streams import StreamHub

    follow = StreamHub.follow

    async def without_the_last(self, run_id, **start):
        async for batch in follow(self, run_id, **start):
            yield Batch(event for event in batch if not event.is_last)

    StreamHub.follow = without_the_last
    """,
)

CANCELS_IN_WORDS_ONLY = (
    "api",
    """
    from shared.runs import queries, service
    from shared.lifecycle import RunStatus

    def cancel(session, dispatcher, cancels):
        runs = []
        for one in cancels:
            run = queries.get_run(session, one.run_id, organization_id=one.organization_id)
            session.expunge(run)
            run.status = RunStatus.CANCELLED
            runs.append(run)
        return runs

    service.cancel_together = cancel
    """,
)

SHOWS_ANOTHER_BYTE = (
    "api",
    """
    import itertools

    from api.streaming.batch import Batch

    numbers = itertools.count()
    encoded = Batch.encoded  # which readers share
    mark = b'"n":%d,"timestamp":'
    Batch.encoded = lambda *of: encoded(*of).replace(b'"timestamp":', mark % next(numbers))
    """,
)


def environment_of_a_drill() -> dict[str, str]:
    """A new user's, with the times that the drill itself chooses."""
    return {
        name: value
        for name, value in environment().items()
        if not name.startswith("RUNYARD_") and name != "PYTHONPATH"
    }


def hold(directory: Path, *options: str, env: dict[str, str]) -> tuple[int, dict, str]:
    """Hold a drill in a directory: its exit code, its report, and what it printed."""
    directory.mkdir(exist_ok=True)
    report = directory / "report.json"
    done = subprocess.run(
        [str(RUNYARD), "drill", "--seed", "7", "--report", str(report), *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=env,
        timeout=220,
    )
    said = done.stdout + done.stderr
    assert report.exists(), said
    return done.returncode, json.loads(report.read_text()), said


def broken_build(directory: Path, module: str, patch: str) -> dict[str, str]:
    """An environment in which one program of the product is changed from outside."""
    body = textwrap.indent(textwrap.dedent(patch), "    ")
    (directory / "sitecustomize.py").write_text(textwrap.dedent(ONLY_IN.format(module=module)) + body)
    return {**environment_of_a_drill(), "PYTHONPATH": str(directory)}


def broken_checks(report: dict) -> set[str]:
    return {check["name"] for check in report["checks"] if not check["kept"]}


def test_every_promise_is_kept_under_faults(tmp_path):
    """Promises 1 to 6, from outside."""
    faults = "worker-kill,worker-drain,api-kill,redis-wipe,postgres-crash,reconciler-kill"
    options = ["--runs", "60", "--duration", "30", "--faults", faults]
    code, report, said = hold(tmp_path, *options, env=environment_of_a_drill())
    assert (code, broken_checks(report)) == (0, set()), said
    assert {fault["name"] for fault in report["faults"]} == set(faults.split(","))
    assert report["load"]["accepted"] == 60
    assert report["load"]["cancels"] > 0
    seen = {check["name"]: check["examined"] for check in report["checks"]}
    assert min(seen.values()) > 0, seen


@pytest.mark.parametrize(
    ("build", "faults", "found"),
    [
        (NEVER_TAKES_OVER, "worker-kill,redis-wipe", "accepted-runs-end"),
        (DROPS_THE_TAIL, "none", "streams-end"),
        (CANCELS_IN_WORDS_ONLY, "none", "true-cancels"),
        (SHOWS_ANOTHER_BYTE, "none", "same-bytes"),
    ],
    ids=["lost-runs", "no-tail", "untrue-cancel", "other-bytes"],
)
def test_a_broken_build_is_found(tmp_path, build, faults, found):
    env = broken_build(tmp_path, *build)
    options = ["--runs", "20", "--duration", "6", "--cancels", "0.5", "--bound", "15", "--faults", faults]
    code, report, said = hold(tmp_path, *options, env=env)
    assert code == BROKEN, said
    assert found in broken_checks(report), said
