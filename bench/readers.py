"""1,000 readers with random reconnects over 50 runs: do all readers of a run get the same bytes?

`make bench BENCH=readers`: a stack with default settings. The readers share one process.
"""

import asyncio
import hashlib
import os
import random
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from bench.measure import Figure, show
from bench.plant import MEGA, environment
from cli.drill.plan import PlannedReader
from cli.drill.record import Transcript
from tests.support.llm_stub import LlmStub
from tests.support.readers import faults_of, read_all
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

RUNS: Final = 50
READERS: Final = 20  # of each run
MODEL: Final = "openai/words-200-100"  # 20 s
SPREAD: Final = 20.0  # seconds in which the readers come
FILES: Final = 8192
READ_TIMEOUT: Final = 180.0  # seconds
SEED: Final = 1


def plan(draw: random.Random) -> PlannedReader:
    """Come at any time, and leave up to four times."""
    leaves = tuple(draw.randint(1, 40) for _ in range(draw.randint(0, 4)))
    return PlannedReader(comes_after=draw.uniform(0, SPREAD), leaves_after=leaves)


def digest(transcript: Transcript) -> str:
    """One hash of all that a reader was sent."""
    return hashlib.sha256(b"".join(transcript.digests)).hexdigest()


def read(stack: Stack, run_ids: Sequence[str]) -> tuple[list[Transcript], dict[str, set[str]]]:
    """Read all runs by all readers: what each was sent, and the different transcripts of each run."""
    draw = random.Random(SEED)  # noqa: S311  # to be repeated, not to be secret
    readings = [(run_id, plan(draw)) for run_id in run_ids for _ in range(READERS)]
    transcripts = asyncio.run(read_all(stack, readings, patience=READ_TIMEOUT))
    digests: dict[str, set[str]] = defaultdict(set)
    for (run_id, _), transcript in zip(readings, transcripts, strict=True):
        digests[run_id].add(digest(transcript))
    return transcripts, digests


def main() -> None:
    """Start, read, compare, stop; exit with 1 if two readers of a run differ or one has no end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    with (
        tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory,
        LlmStub() as llm,
        running_stack(Path(directory), "--concurrency", str(RUNS), env=environment(llm)) as stack,
    ):
        assistant_id = stack.create_assistant(model=MODEL)
        wait_until(lambda: stack.client.get("/health/ready").is_success)
        start = time.perf_counter()
        run_ids = [stack.create_run(assistant_id, args=["Hi"]) for _ in range(RUNS)]
        transcripts, digests = read(stack, run_ids)
        took = time.perf_counter() - start
        statuses = {stack.run(run_id)["status"] for run_id in run_ids}
        rss = psutil.Process(stack.file["pids"]["api"]).memory_info().rss / MEGA
    sent = sum(len(transcript.digests) for transcript in transcripts)
    different = [run_id for run_id, found in digests.items() if len(found) > 1]
    wrong = [what for transcript in transcripts for what in faults_of(transcript)]
    show(
        f"Readers, on {os.cpu_count()} cores",
        [
            Figure("readers", len(transcripts), "", note=f"of {RUNS} runs, which ended {sorted(statuses)}"),
            Figure("events sent", sent, "", note=f"{sent / took:.0f} a second, {took:.0f} s"),
            Figure("runs whose readers were sent different bytes", len(different), "", target=1),
            Figure("readers without one end, or with a hole", len(wrong), "", target=1),
            Figure("the API's resident memory in the end", rss, "MB"),
        ],
    )
    for line in [*different, *wrong]:
        sys.stderr.write(f"{line}\n")
    sys.exit(1 if different or wrong or statuses != {"SUCCEEDED"} else 0)


if __name__ == "__main__":
    main()
