"""Names that gave way to the field's terms do not come back.

A word that is still right elsewhere is retired only within the paths in which it was replaced. CHANGELOG.md,
DECISIONS.md and old migrations are records, and keep their words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.checkout import ROOT, tracked_files

RECORDS: Final = ("CHANGELOG.md", "DECISIONS.md", "shared/migrations/versions/")
EVERYWHERE: Final = ("",)
PACKAGES: Final = ("api/", "cli/", "shared/", "worker/")


@dataclass(frozen=True)
class Retired:
    """A name, the one that replaced it, and the paths in which only the new one is right."""

    old: str  # a regular expression for the whole word
    new: str
    within: Sequence[str] = EVERYWHERE  # beginnings of paths

    def __str__(self) -> str:
        return f"{self.old} in {' '.join(self.within)}" if self.within != EVERYWHERE else self.old


DRAIN: Final = (
    "worker/process/drain.py",
    "worker/process/signals.py",
    "tests/unit/worker/process/test_drain.py",
)
PROGRAM: Final = ("worker/executors/program/", "tests/integration/worker/executors/program/")
STREAMS: Final = ("api/streaming/", "shared/events/")
WATSONX: Final = ("api/watsonx/",)
DRILL: Final = ("cli/drill/", "cli/commands/drill.py")
READERS: Final = ("README.md", "docs/", "deploy/env.example", "api/", "worker/", "cli/", "bench/")
"""Where the old name of a setting would be read as one; elsewhere it stands to be refused."""

RETIRED: Final = (
    # The pool of a worker process, and its drain
    Retired(r"\w*Seat|\w*seat(s|ed)?", "Slot, in_slot"),
    Retired("ExtraSeat", "OffPoolSlot"),
    Retired("Crew|crew", "RunPool", ("worker/", "tests/unit/worker/", "tests/integration/")),
    Retired(
        "Post|ConsumerPost",
        "WorkerControl, ConsumerControl",
        ("worker/process/", "tests/unit/worker/process/"),
    ),
    Retired("leave", "exit_gracefully", DRAIN),
    Retired("vanish", "exit_now", DRAIN),
    Retired("begin", "request", DRAIN),
    Retired("Place", "Replica", ("worker/",)),
    Retired("lifeline", "supervisor_link"),
    # Programs
    Retired("place", "workdir", PROGRAM),
    Retired("[Ww]arden|WARDEN", "shim"),
    Retired("[Bb]lotter|blot(ted)?", "StreamRedactor, redact"),
    Retired("end_remains|_remains|remains", "orphans, kill_marked_processes", ("worker/",)),
    Retired("last_words", "last_error_line, log_tail"),
    # One attempt
    Retired("worker[./]ladder|_?[Ll]adder", "Interrupter, StopSequence"),
    Retired("LineKeeper|line_keeper|keep_lines", "LogWriter, write_log"),
    Retired("Means", "nothing: read a RunContext", ("worker/",)),
    Retired(r"worker[./]calls|worker[./]structures|STEP_IN|_step_in\w*", "structure_calls, STEAL_AFTER"),
    Retired("Contact|is_steady", "LeaseTrust.can_judge", ("worker/", "tests/unit/worker/")),
    Retired(r"worker\.(pool|consumer|process):\w+", "worker.process.pool:TaskPool"),
    # Runs and threads
    Retired("narration|NARRATION|narrate", "transition_events, EVENTS_OF, events_of"),
    Retired(r"runs[./]effects|runs[./]acceptance|import effects|effects\.follow", "runs.moves", PACKAGES),
    Retired("is_sent", "dispatch", PACKAGES),
    Retired("threads[./]admission|runs[./]admission", "threads.turns"),
    Retired("Side|sides_of|LONE", "Role, roles_of, SOLE_ROLE", (*PACKAGES, "tests/unit/shared/")),
    Retired("said", "text_of", ("shared/threads/",)),
    Retired(
        r"organizations[./](directory|administration)|organizations import (directory|administration)",
        "admin",
    ),
    Retired("Wish|[Ww]ishes|WISHES", "Cancel, shared_cancels", PACKAGES),
    # Streams and dialects
    Retired("after(?=[:=])", "start", STREAMS),
    Retired("Waiting|_doubt|_settle", "RunWaiter, _recheck, _check_ended", ("api/streaming/",)),
    Retired("_Place", "_Provenance", WATSONX),
    Retired("Said|_words|_ask|_begin", "Lines, _handlers, _on_prompt, _on_running", WATSONX),
    # The command line
    Retired("Death|_mourn|report_death|_say_death", "Exit, _record_exit, report_exit", ("cli/", "tests/")),
    Retired("place", "import_path", ("cli/main.py",)),
    Retired("Clock|Wishes|_hold|_tell|_demand", "Timings, DrillOptions, _run, _print, _require", DRILL),
    Retired("UNWELL|BROKEN", "EXIT_PROBLEMS, EXIT_PROMISE_BROKEN", ("cli/commands/",)),
    # Settings and constants
    Retired("settings\\.queues?", "settings.run_queue, settings.worker_queues"),
    Retired("RUNYARD_QUEUES?", "RUNYARD_RUN_QUEUE, RUNYARD_WORKER_QUEUES", READERS),
    Retired(
        "RUNYARD_API_URL|settings\\.api_url", "RUNYARD_STRUCTURE_API_URL", ("worker/", "shared/structures/")
    ),
    Retired(
        "PATIENCE|PAUSE|LOOK|LAST_LOOK|TICK|POLL|ANSWER_WITHIN",
        "<WHAT>_TIMEOUT, <WHAT>_INTERVAL",
        PACKAGES,
    ),
)


@cache
def tracked() -> dict[str, str]:
    """Every tracked text but records and this file, by path."""
    paths = {str(path.relative_to(ROOT)): path for path in tracked_files() if path != Path(__file__)}
    return {
        name: path.read_text(encoding="utf-8", errors="replace")
        for name, path in paths.items()
        if not name.startswith(RECORDS)
    }


@pytest.mark.parametrize("retired", RETIRED, ids=str)
def test_a_retired_name_stays_retired(retired: Retired):
    word = re.compile(rf"(?<!\w)(?:{retired.old})(?!\w)")
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked().items()
        if name.startswith(tuple(retired.within)) and word.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if word.search(line)
    ]
    assert found == [], f"now {retired.new}"


@pytest.mark.parametrize("retired", RETIRED, ids=str)
def test_a_scope_of_a_retired_name_exists(retired: Retired):
    missing = [path for path in retired.within if not any(name.startswith(path) for name in tracked())]
    assert missing == []
