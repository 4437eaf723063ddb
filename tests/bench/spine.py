"""How fast a run gets from POST to its end, and how much memory the processes take.

`make bench`: starts `runyard dev` on its own, with a model provider of the tests beside it. Figures are
medians; compare them within one report only, for the machine's other work is in them.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psutil

from tests.bench.measure import MILLI, Figure, median, percentile, show
from tests.support.llm_stub import LlmStub
from tests.support.stack import Stack, event_of, running_stack
from tests.support.waiting import wait_until

RUNS: Final = 60
WARM_UP: Final = 5
WAITING: Final = 50
AT_ONCE: Final = 500
CALLERS: Final = 8  # that submit the runs at once
PATIENCE: Final = 180.0  # seconds
MEGA: Final = 1e6

TEXT: Final = "All this happened, more or less. The war parts, anyway, are pretty much true."

EVENTS: Final[Mapping[str, str]] = {
    "AssistantRunQueued": "POST sent → first event on the stream",
    "AssistantRunRunning": "POST sent → AssistantRunRunning",
    "TextChunkEvent": "POST sent → first TextChunkEvent",
    "AssistantRunCompleted": "POST sent → AssistantRunCompleted",
}
TARGETS: Final[Mapping[str, float]] = {"AssistantRunQueued": 50.0}  # milliseconds


def follow_one(stack: Stack, assistant_id: str) -> dict[str, float]:
    """Create a run and read its stream to the end; the milliseconds until each thing first happened."""
    start = time.perf_counter()
    run_id = stack.create_run(assistant_id, args=[TEXT])
    seen = {"POST": time.perf_counter() - start}
    for frame in stack.frames(run_id):
        seen.setdefault(event_of(frame)["type"], time.perf_counter() - start)
    return {what: seconds * MILLI for what, seconds in seen.items()}


def measure_latency(stack: Stack) -> list[Figure]:
    """One run at a time on an idle stack."""
    assistant_id = stack.create_assistant()
    followed = [follow_one(stack, assistant_id) for _ in range(WARM_UP + RUNS)][WARM_UP:]
    posts = [one["POST"] for one in followed]
    return [
        median("POST …/runs, p50", posts, target=10.0),
        Figure("POST …/runs, p95", percentile(posts, 95), "ms"),
        *(
            median(what, [one[event] for one in followed], target=TARGETS.get(event))
            for event, what in EVENTS.items()
        ),
    ]


def measure_throughput(stack: Stack) -> list[Figure]:
    """Many runs at once: until the last one is accepted, and until the last one has ended."""
    assistant_id = stack.create_assistant()
    before, start = cpu_seconds(stack), time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        submitted = [callers.submit(stack.create_run, assistant_id, args=[TEXT]) for _ in range(AT_ONCE)]
    for one in submitted:
        one.result()
    accepted = time.perf_counter() - start
    wait_until(lambda: succeeded(stack, assistant_id) == AT_ONCE, timeout=PATIENCE, pause=0.05)
    ended = time.perf_counter() - start
    spent = {name: seconds - before[name] for name, seconds in cpu_seconds(stack).items()}
    return [
        Figure(f"{AT_ONCE} echo runs at once: accepted", AT_ONCE / accepted, "runs/s"),
        Figure(f"{AT_ONCE} echo runs at once: ended", AT_ONCE / ended, "runs/s", note=f"{ended:.1f} s"),
        *(Figure(f"CPU a run: {name}", seconds * MILLI / AT_ONCE, "ms") for name, seconds in spent.items()),
    ]


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """What each part of the stack has computed so far; other work on the machine does not show in it."""
    spent = {}
    for name, pid in stack.file["pids"].items():
        times = [process.cpu_times() for process in [psutil.Process(pid), *stack.children(name)]]
        spent[name] = sum(one.user + one.system for one in times)
    return spent


def succeeded(stack: Stack, assistant_id: str) -> int:
    """The number of an assistant's runs that have SUCCEEDED."""
    query = {"status": "SUCCEEDED", "page_size": 1}
    answer = stack.client.get(f"/api/assistants/{assistant_id}/runs", params=query)
    total: int = answer.json()["pagination"]["total_count"]
    return total


def measure_idle_memory(stack: Stack) -> list[Figure]:
    """What the processes take once they have started."""
    return [
        Figure("PSS of the API, idle", api_memory(stack), "MB", target=120.0),
        Figure("PSS of a worker process, idle", worker_memory(stack), "MB"),
    ]


def measure_waiting_memory(stack: Stack, llm: LlmStub) -> list[Figure]:
    """What a worker process takes while its runs wait for a model that does not answer."""
    assistant_id = stack.create_assistant(model="openai/hang")
    run_ids = [stack.create_run(assistant_id, args=[TEXT]) for _ in range(WAITING)]
    reached = llm.records.wait_for(lambda records: records.open_connections >= WAITING, PATIENCE)
    assert reached, f"{llm.records.open_connections} of {WAITING} runs wait for the model"
    figure = Figure(
        f"PSS of a worker process, {WAITING} waiting runs", worker_memory(stack), "MB", target=250.0
    )
    for run_id in run_ids:
        stack.cancel(run_id)
    return [figure]


def api_memory(stack: Stack) -> float:
    """The API's megabytes, with everything below it."""
    api = psutil.Process(stack.file["pids"]["api"])
    return sum(map(memory, [api, *stack.children("api")]))


def worker_memory(stack: Stack) -> float:
    """The megabytes of the process that executes runs: the largest below the supervisor."""
    return max(map(memory, stack.children("worker")))


def memory(process: psutil.Process) -> float:
    """A process's proportional share of memory, the median of a few looks."""
    return statistics.median(process.memory_full_info().pss / MEGA for _ in range(3))


def environment(llm: LlmStub) -> dict[str, str]:
    """A new user's environment, with the stub for a provider; all settings are the product's own."""
    ours = ("RUNYARD_", "OPENAI_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "OPENAI_BASE_URL": llm.openai_url, "OPENAI_API_KEY": "sk-stub"}


def main() -> None:
    """Start, measure, report, stop."""
    with (
        tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory,
        LlmStub() as llm,
        running_stack(Path(directory), "--concurrency", str(WAITING), env=environment(llm)) as stack,
    ):
        figures = [
            *measure_idle_memory(stack),
            *measure_latency(stack),
            *measure_waiting_memory(stack, llm),
            *measure_throughput(stack),
        ]
    load = os.getloadavg()[0]  # a good deal above 1 by the runs themselves; beyond that it is others' work
    show(f"The spine, on {os.cpu_count()} cores, load {load:.1f} in the end", figures)


if __name__ == "__main__":
    main()
