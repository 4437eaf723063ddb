"""The load of a drill: each run is submitted, cancelled, streamed and polled by tasks of its own."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

from cli.drill.caller import Caller
from cli.drill.plan import Plan, PlannedReader
from cli.drill.readers import Now, read_to_end
from cli.drill.record import Facts, RunRecord, Transcript
from shared.lifecycle import TERMINAL, RunKind, RunStatus

POLL_INTERVAL: Final = 1.0  # seconds
POLLS_AFTER_END: Final = 2  # of a run that has ended, before the final read
PAGE_SIZE: Final = 500  # runs
FINAL_READS: Final = 12  # at once
WORDS_PER_SECOND: Final = 30  # of a structure
LATE_READER: Final = PlannedReader(comes_after=0.0, leaves_after=())


class Load:
    """Executes a plan's runs against the API, and records what it observes."""

    def __init__(self, caller: Caller, plan: Plan, facts: Facts, *, now: Now) -> None:
        self._caller = caller
        self._plan = plan
        self._facts = facts
        self._now = now
        self._mark = f"drill-{uuid.uuid4().hex[:8]}"
        self._subjects: dict[RunKind, str] = {}  # paths of the assistant and of the structure
        self._threads: list[str] = []
        self._submissions: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Create assistant, structure and threads, and test whether the API knows Idempotency-Key."""
        pace = [{"name": "WORDS_PER_SECOND", "value": str(WORDS_PER_SECOND)}]
        bodies: dict[RunKind, dict[str, Any]] = {
            RunKind.ASSISTANT: {"name": self._mark},
            RunKind.STRUCTURE: {"name": self._mark, "env_vars": pace},
        }
        for kind, body in bodies.items():
            answer = await self._caller.create(f"/{kind}s", json=body)
            self._subjects[kind] = f"/{kind}s/{answer[f'{kind}_id']}"
        for number in range(self._plan.threads):
            thread = await self._caller.create("/threads", json={"name": f"{self._mark}-{number}"})
            self._threads.append(thread["thread_id"])
        key = {"Idempotency-Key": uuid.uuid4().hex}
        probe = {"input": f"{self._mark} probe"}
        twice = [await self._post(RunKind.ASSISTANT, probe, headers=key) for _ in range(2)]
        self._facts.has_keys = twice[0] == twice[1]

    async def submit_all(self) -> None:
        """Submit every run at its time; return when all are accepted."""
        start = self._now()
        for record in self._facts.runs:
            await asyncio.sleep(max(0.0, start + record.plan.at - self._now()))
            self._submissions.append(asyncio.create_task(self._run(record)))
        while any(not record.run_ids for record in self._facts.runs):
            failed = [task for task in self._submissions if task.done()]
            for task in failed:
                task.result()
            await asyncio.sleep(0.1)

    async def settle(self, bound: float) -> None:
        """Wait, up to `bound` seconds, until every run has ended and every reader is done."""
        start = self._now()
        pending = {*self._submissions, *self._tasks}
        if pending:
            _, late = await asyncio.wait(pending, timeout=bound)
            for task in late:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self._facts.bound = bound
        self._facts.settled_in = self._now() - start

    async def read_final(self, timeout: float) -> None:  # noqa: ASYNC109  # incomplete facts are judged, too
        """Read runs, events, lists and threads once more, after everything has settled."""
        limit = asyncio.Semaphore(FINAL_READS)
        accepted = [record for record in self._facts.runs if record.run_ids]
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(self._read_run_final(record, limit) for record in accepted))
                await self._list_all()
                for thread_id in self._threads:
                    page = await self._caller.call("GET", f"/threads/{thread_id}/messages")
                    self._facts.messages[thread_id] = len(page["messages"])

    async def _run(self, record: RunRecord) -> None:
        await self._submit(record)
        for index, reader in enumerate(record.plan.readers):
            transcript = Transcript(f"reader {index + 1}")
            record.transcripts.append(transcript)
            reading = read_to_end(self._caller, record.path, transcript, plan=reader, now=self._now)
            self._tasks.add(asyncio.create_task(reading))
        await asyncio.gather(self._cancel(record), self._poll(record))

    async def _submit(self, record: RunRecord) -> None:
        plan = record.plan
        record.thread_id = None if plan.thread is None else self._threads[plan.thread]
        text = " ".join([f"{self._mark} {plan.number}:", *(f"w{index}" for index in range(plan.words))])
        is_structure = plan.kind is RunKind.STRUCTURE
        body: dict[str, Any] = {"args": [text]} if is_structure else {"input": text, "stream": True}
        if record.thread_id:
            body["thread_id"] = record.thread_id
        with_key = bool(plan.repeats) and self._facts.has_keys
        headers = {"Idempotency-Key": f"{self._mark}-{plan.number}"} if with_key else None
        record.submitted_at = self._now()
        times = 1 + (plan.repeats if with_key else 0)
        posts = (self._post(plan.kind, body, headers=headers) for _ in range(times))
        record.run_ids += await asyncio.gather(*posts)

    async def _post(self, kind: RunKind, body: dict[str, Any], *, headers: dict[str, str] | None) -> str:
        path = f"{self._subjects[kind]}/runs"
        answer = await self._caller.create(path, json=body, headers=headers)
        return str(answer[f"{kind}_run_id"])

    async def _cancel(self, record: RunRecord) -> None:
        if record.plan.cancel_after is None:
            return
        await asyncio.sleep(record.plan.cancel_after)
        answer = await self._caller.call("POST", f"{record.path}/cancel", json={})
        record.cancel_answer = answer["status"]

    async def _poll(self, record: RunRecord) -> None:
        """Poll a run until it has ended with a complete receipt, and a few times more."""
        polls = 0
        while polls <= POLLS_AFTER_END:
            await asyncio.sleep(POLL_INTERVAL)
            await self._read_run(record)
            if record.ended and record.final is not None and has_complete_receipt(record.final):
                polls += 1

    async def _read_run(self, record: RunRecord) -> None:
        run = await self._caller.call("GET", record.path)
        record.record(run, self._now(), terminal=run["status"] in TERMINAL)

    async def _read_run_final(self, record: RunRecord, limit: asyncio.Semaphore) -> None:
        async with limit:
            await self._read_run(record)
            if not record.ended:
                return
            transcript = Transcript("the last reader")
            record.transcripts.append(transcript)
            await read_to_end(self._caller, record.path, transcript, plan=LATE_READER, now=self._now)
            path = f"{record.path}/events"
            page = await self._caller.call("GET", path, params={"limit": 1})
            record.event_count = page["total_count"]

    async def _list_all(self) -> None:
        listed: dict[int | None, list[str]] = {}
        for kind in RunKind:
            async for run in self._list(kind):
                text = " ".join(run["args"]) if kind is RunKind.STRUCTURE else run["input"]
                number = text.partition(":")[0].rpartition(" ")[2]  # of the planned run; none for the probe
                listed.setdefault(int(number) if number.isdigit() else None, []).append(run["status"])
        self._facts.listed = listed
        self._facts.unended = sum(
            status not in TERMINAL for statuses in listed.values() for status in statuses
        )

    async def _list(self, kind: RunKind) -> AsyncGenerator[dict[str, Any]]:
        cursor: str | None = ""
        while cursor is not None:
            params = {"cursor": cursor, "page_size": PAGE_SIZE}
            page = await self._caller.call("GET", f"{self._subjects[kind]}/runs", params=params)
            for run in page[f"{kind}_runs"]:
                yield run
            cursor = page["pagination"].get("next_cursor")


def has_complete_receipt(run: dict[str, Any]) -> bool:
    """Whether a run is not CANCELLED, or its detail says how and when the work stopped."""
    if run["status"] != RunStatus.CANCELLED:
        return True
    detail = run.get("status_detail") or {}
    return bool(detail.get("stopped_at")) and bool(detail.get("stopped_how"))
