"""The load of a drill: runs submitted, cancelled, followed and watched, each by tasks of its own."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

from shared.drill.caller import Caller
from shared.drill.plan import Plan, PlannedReader
from shared.drill.readers import Now, read_to_end
from shared.drill.record import Facts, RunRecord, Transcript
from shared.runs.lifecycle import TERMINAL, RunKind, RunStatus

POLL: Final = 1.0  # seconds between two looks at a run
LOOKS_AFTER_END: Final = 2  # looks at a run that has ended, before the last one of all
PAGE: Final = 500  # runs of one listing
AT_ONCE: Final = 12  # runs looked at together in the end
WORDS_PER_SECOND: Final = 30  # of a structure
LATE_READER: Final = PlannedReader(comes_after=0.0, leaves_after=())


class Load:
    """Carries out a plan's runs against the API, and notes what it sees."""

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
        """Make what is run and the threads, and find out whether Idempotency-Key is known."""
        pace = [{"name": "WORDS_PER_SECOND", "value": str(WORDS_PER_SECOND)}]
        bodies: dict[RunKind, dict[str, Any]] = {
            RunKind.ASSISTANT: {"name": self._mark},
            RunKind.STRUCTURE: {"name": self._mark, "env_vars": pace},
        }
        for kind, body in bodies.items():
            answer = await self._caller.call("POST", f"/{kind}s", json=body)
            self._subjects[kind] = f"/{kind}s/{answer[f'{kind}_id']}"
        for number in range(self._plan.threads):
            thread = await self._caller.call("POST", "/threads", json={"name": f"{self._mark}-{number}"})
            self._threads.append(thread["thread_id"])
        key = {"Idempotency-Key": uuid.uuid4().hex}
        probe = {"input": f"{self._mark} probe"}
        twice = [await self._post(RunKind.ASSISTANT, probe, headers=key) for _ in range(2)]
        self._facts.has_keys = twice[0] == twice[1]

    async def submit_all(self) -> None:
        """Submit every run at its time; returns when all have been accepted."""
        start = self._now()
        for record in self._facts.runs:
            await asyncio.sleep(max(0.0, start + record.plan.at - self._now()))
            self._submissions.append(asyncio.create_task(self._live_through(record)))
        await self._all_accepted()

    async def settle(self, bound: float) -> None:
        """Wait until every run has ended and every reader is through, for up to `bound` seconds."""
        start = self._now()
        pending = {*self._submissions, *self._tasks}
        if pending:
            _, late = await asyncio.wait(pending, timeout=bound)
            for task in late:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        self._facts.bound = bound
        self._facts.settled_in = self._now() - start

    async def look_again(self, patience: float) -> None:
        """Read everything once more, now that nothing moves: runs, logs, lists, threads."""
        limit = asyncio.Semaphore(AT_ONCE)
        accepted = [record for record in self._facts.runs if record.run_ids]
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.gather(*(self._last_look(record, limit) for record in accepted))
                await self._list_all()
                for thread_id in self._threads:
                    page = await self._caller.call("GET", f"/threads/{thread_id}/messages")
                    self._facts.messages[thread_id] = len(page["messages"])

    async def _all_accepted(self) -> None:
        while any(not record.run_ids for record in self._facts.runs):
            failed = [task for task in self._submissions if task.done()]
            for task in failed:
                task.result()
            await asyncio.sleep(0.1)

    async def _live_through(self, record: RunRecord) -> None:
        await self._submit(record)
        self._follow(record)
        await asyncio.gather(self._cancel(record), self._watch(record))

    async def _submit(self, record: RunRecord) -> None:
        plan = record.plan
        record.thread_id = None if plan.thread is None else self._threads[plan.thread]
        body = _body(plan.kind, _words(f"{self._mark} {plan.number}", plan.words))
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
        answer = await self._caller.call("POST", path, json=body, headers=headers)
        return str(answer[f"{kind}_run_id"])

    def _follow(self, record: RunRecord) -> None:
        for index, reader in enumerate(record.plan.readers):
            transcript = Transcript(f"reader {index + 1}")
            record.transcripts.append(transcript)
            task = asyncio.create_task(
                read_to_end(self._caller, record.path, transcript, plan=reader, now=self._now)
            )
            self._tasks.add(task)

    async def _cancel(self, record: RunRecord) -> None:
        if record.plan.cancel_after is None:
            return
        await asyncio.sleep(record.plan.cancel_after)
        answer = await self._caller.call("POST", f"{record.path}/cancel", json={})
        record.cancel_answer = answer["status"]

    async def _watch(self, record: RunRecord) -> None:
        """Look at a run until it has ended and its receipt is complete, and a few times more."""
        looks = 0
        while looks <= LOOKS_AFTER_END:
            await asyncio.sleep(POLL)
            await self._look(record)
            if record.ended and record.final is not None and has_complete_receipt(record.final):
                looks += 1

    async def _look(self, record: RunRecord) -> None:
        run = await self._caller.call("GET", record.path)
        record.saw(run, self._now(), terminal=run["status"] in TERMINAL)

    async def _last_look(self, record: RunRecord, limit: asyncio.Semaphore) -> None:
        async with limit:
            await self._look(record)
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
                listed.setdefault(_number_of(text), []).append(run["status"])
        self._facts.listed = listed
        self._facts.unended = sum(
            status not in TERMINAL for statuses in listed.values() for status in statuses
        )

    async def _list(self, kind: RunKind) -> AsyncGenerator[dict[str, Any]]:
        cursor: str | None = ""
        while cursor is not None:
            params = {"cursor": cursor, "page_size": PAGE}
            page = await self._caller.call("GET", f"{self._subjects[kind]}/runs", params=params)
            for run in page[f"{kind}_runs"]:
                yield run
            cursor = page["pagination"].get("next_cursor")


def _body(kind: RunKind, text: str) -> dict[str, Any]:
    return {"args": [text]} if kind is RunKind.STRUCTURE else {"input": text, "stream": True}


def has_complete_receipt(run: dict[str, Any]) -> bool:
    """Whether a run's cancel, if it was cancelled, says how and when its work stopped."""
    if run["status"] != RunStatus.CANCELLED:
        return True
    detail = run.get("status_detail") or {}
    return bool(detail.get("stopped_at")) and bool(detail.get("stopped_how"))


def _words(name: str, count: int) -> str:
    return " ".join([f"{name}:", *(f"w{index}" for index in range(count))])


def _number_of(text: str) -> int | None:
    """The number of the planned run that a run's input belongs to; None for the probe."""
    number = text.partition(":")[0].rpartition(" ")[2]
    return int(number) if number.isdigit() else None
