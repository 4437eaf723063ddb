"""500 cancels at random moments: is each one true, and how soon does the code stop?

`make bench BENCH=cancels`: runs that stream, runs that wait for a model without an answer, and runs that
compute endlessly, on a stack with default settings. The time counts from the answer to the cancel to
`stopped_at` in the receipt, both on this machine's clock.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.measure import MILLI, Figure, percentile, show
from bench.plant import environment
from tests.support.cancels import STUBBORN, Cancelled, cancel
from tests.support.llm_stub import LlmStub
from tests.support.stack import TERMINAL, Stack, running_stack

GRACE: Final = 5.0  # seconds, the product's default
SEED: Final = 1
CALLERS: Final = 8
BUSY_CALLERS: Final = 2  # what computes without an end takes the processor from everybody else


@dataclass(frozen=True)
class Kind:
    """Runs to cancel."""

    model: str
    count: int
    longest: float  # seconds between POST and cancel, at the most
    callers: int = CALLERS


COOPERATIVE: Final = (Kind("openai/words-40-50", 280, 3.0), Kind("openai/hang", 180, 3.0))
BUSY: Final = (Kind("stubborn/busy", 40, 1.0, BUSY_CALLERS),)


def cancel_many(stack: Stack, kind: Kind, draw: random.Random) -> list[Cancelled]:
    """Create runs, and cancel each after a random while."""
    assistant_id = stack.create_assistant(model=kind.model)

    def one(after: float) -> Cancelled:
        run_id = stack.create_run(assistant_id, args=["Hi"])
        time.sleep(after)
        return cancel(stack, run_id)

    with ThreadPoolExecutor(kind.callers) as callers:
        return list(callers.map(one, [draw.uniform(0, kind.longest) for _ in range(kind.count)]))


def judge(stack: Stack, cancels: Sequence[Cancelled]) -> tuple[list[float], Counter[str], list[str]]:
    """Seconds from answer to stop, of those whose code had begun; how they stopped; which were untrue."""
    lasted, ways, untrue = [], Counter[str](), []
    for one in cancels:
        told: str = one.answer["status"]
        final: dict[str, Any] = stack.run(one.run_id)
        if told not in TERMINAL or final["status"] != told:
            untrue.append(f"{one.run_id}: the cancel was answered {told}, the run is {final['status']}")
        elif told == "CANCELLED":
            detail = one.receipt(stack, timeout=60)
            ways[detail["stopped_how"]] += 1
            if detail["stopped_how"] != "never_started":
                lasted.append(max(0.0, one.lasted(detail)))
        else:
            ways[f"finished before, {told}"] += 1
    return lasted, ways, untrue


def figures(what: str, lasted: Sequence[float], ways: Counter[str], *, target: float) -> list[Figure]:
    """The middle and the worst of some seconds."""
    millis = [seconds * MILLI for seconds in lasted]
    note = ", ".join(f"{way} {count}" for way, count in ways.items())
    return [
        Figure(f"{what}: cancel answered → code stopped, p50", percentile(millis, 50), "ms", note=note),
        Figure(f"{what}: p99", percentile(millis, 99), "ms", target=target * MILLI),
        Figure(f"{what}: the longest", max(millis), "ms"),
    ]


def main() -> None:
    """Start, cancel, judge, stop; exit with 1 if a cancel was untrue."""
    draw = random.Random(SEED)  # noqa: S311  # to be repeated, not to be secret
    with (
        tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory,
        LlmStub() as llm,
        running_stack(Path(directory), env={**environment(llm), "PYTHONPATH": str(STUBBORN)}) as stack,
    ):
        report, untrue = [], []
        for what, kinds, target in (
            ("cooperative", COOPERATIVE, 1.0),
            ("busy loops", BUSY, GRACE + 1.0),
        ):
            cancels = [one for kind in kinds for one in cancel_many(stack, kind, draw)]
            lasted, ways, wrong = judge(stack, cancels)
            report += figures(f"{len(cancels)} {what}", lasted, ways, target=target)
            untrue += wrong
    show("Cancels at random moments", report)
    for line in untrue:
        sys.stderr.write(f"{line}\n")
    sys.exit(1 if untrue else 0)


if __name__ == "__main__":
    main()
