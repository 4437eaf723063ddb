"""The system as it is now: a picture, the workers, what is held and why, and whether all is well.

An organization sees its own runs, the names of workers, which its runs name anyway, and how many slots these
have.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from api import readiness
from api.console.pages import page
from api.console.parts import shared_part
from api.console.route import ConsoleRoute
from api.console.strip import MISSED_BEATS, strip_of
from api.dependencies import PrincipalDep, ReaderDep
from api.resources import Resources
from shared.dispatch import shares
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.models import ProcessKind, Run
from shared.processes import beats
from shared.processes.beats import Heard, Load
from shared.rows.paging import Part
from shared.runs import lists, queries
from shared.runs.summaries import counts, counts_of_queued, held_by_worker, summaries
from shared.settings import Settings

router = APIRouter(route_class=ConsoleRoute)

MOST_WORKERS: Final = 200
DRAWN_WORKERS: Final = 6
RECENT: Final = 10  # runs on the start page
ROUNDS: Final = 3  # of the reconciler, after which what it mends is a finding


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as an organization sees it."""

    name: str
    seconds_ago: float  # since its last heartbeat
    is_alive: bool
    held: int  # runs of the organization
    load: Load | None  # of all organizations


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why the queued runs of an organization wait."""

    for_thread: int
    for_share: int
    for_worker: dict[str, int]  # by queue


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    severity: str  # ok, warning or problem
    said: str
    advice: str = ""


@router.get("/overview")
async def show_overview(request: Request, read: ReaderDep, principal: PrincipalDep) -> Response:
    """Draw the system, with the last runs."""
    return await shared_part(request, principal, read, lambda session: _overview(request, session, principal))


def _overview(request: Request, session: Session, principal: Principal) -> Response:
    settings: Settings = request.app.state.settings
    resources: Resources = request.app.state.resources
    listed = lists.RunList(principal.organization_id)
    recent = lists.positions(session, listed, Part(limit=RECENT, is_walk=True))
    ids = [run.id for run in recent.rows]
    workers = _workers(session, settings, principal)
    alive = [worker for worker in workers if worker.is_alive]
    return page(
        request,
        "overview.html",
        strip=strip_of(session, settings, principal.organization_id),
        waiting=_waiting(session, settings, principal),
        workers=alive[:DRAWN_WORKERS],
        more=max(0, len(alive) - DRAWN_WORKERS),
        has_redis=resources.subscriber.is_connected,
        rows=summaries(session, ids, organization_id=principal.organization_id),
    )


@router.get("/workers")
async def show_workers(request: Request, read: ReaderDep, principal: PrincipalDep) -> Response:
    """Show workers, queues, and what is held and why."""
    return await shared_part(
        request, principal, read, lambda session: _all_workers(request, session, principal)
    )


def _all_workers(request: Request, session: Session, principal: Principal) -> Response:
    settings: Settings = request.app.state.settings
    return page(
        request,
        "workers.html",
        strip=strip_of(session, settings, principal.organization_id),
        workers=_workers(session, settings, principal),
        waiting=_waiting(session, settings, principal),
        share=settings.running_share,
    )


@router.get("/health")
async def show_health(request: Request, read: ReaderDep, principal: PrincipalDep) -> Response:
    """Show whether the processes and the organization's runs are well."""
    settings: Settings = request.app.state.settings
    resources: Resources = request.app.state.resources
    database = await resources.readiness.database()
    findings = [
        Finding("PostgreSQL", "ok", "It serves requests.")
        if database == readiness.READY
        else Finding("PostgreSQL", "problem", f"It is {database}.", "Runs wait until it is back."),
        Finding("Redis", "ok", "This process is connected to it.")
        if resources.subscriber.is_connected
        else Finding(
            "Redis",
            "warning",
            "This process is not connected to it.",
            "Runs are accepted; they start when it is back.",
        ),
    ]

    def examine(session: Session) -> list[Finding]:
        return [*_processes(session, settings), *_stuck(session, settings, principal)]

    return page(request, "health.html", findings=[*findings, *await read(examine)])


def _silence_limit(settings: Settings, interval: timedelta) -> float:
    return max(settings.lease_ttl, MISSED_BEATS * interval).total_seconds()


def _workers(session: Session, settings: Settings, principal: Principal) -> list[Worker]:
    limit = _silence_limit(settings, settings.heartbeat)
    held = held_by_worker(session, principal.organization_id)
    heard = beats.heard(session, ProcessKind.WORKER, limit=MOST_WORKERS)
    known = {one.name for one in heard}
    silent = [Heard(name, float("inf")) for name in held if name not in known]
    return [
        Worker(one.name, one.seconds_ago, one.seconds_ago <= limit, held.get(one.name, 0), one.load)
        for one in sorted([*heard, *silent], key=lambda one: one.name)
    ]


def _waiting(session: Session, settings: Settings, principal: Principal) -> Waiting:
    held_back = shares.is_held_back(settings.running_share)
    is_ready = ~Run.waits_for_thread & ~held_back
    for_thread, for_share, of_assistants, of_structures = counts_of_queued(
        session,
        principal.organization_id,
        [
            Run.waits_for_thread.is_(True),
            held_back,
            is_ready & Run.assistant_id.is_not(None),
            is_ready & Run.structure_id.is_not(None),
        ],
    )
    queue_of = settings.queue_of
    by_queue: dict[str, int] = dict.fromkeys(queue_of.values(), 0)
    by_queue[queue_of[RunKind.ASSISTANT]] += of_assistants
    by_queue[queue_of[RunKind.STRUCTURE]] += of_structures
    return Waiting(for_thread, for_share, by_queue)


def _processes(session: Session, settings: Settings) -> list[Finding]:
    heard = beats.latest(session, ProcessKind.RECONCILER)
    limit = _silence_limit(settings, settings.reconcile_interval)
    if heard is not None and heard.seconds_ago <= limit:
        reconciler = Finding("Reconciler", "ok", f"It did a round {heard.seconds_ago:.0f} s ago.")
    else:
        reconciler = Finding(
            "Reconciler",
            "problem",
            "None is running.",
            "Start `runyard reconciler`: without it, lost runs stay lost and limits are not enforced.",
        )
    silence = _silence_limit(settings, settings.heartbeat)
    silent = beats.silent(session, ProcessKind.WORKER, after=silence, limit=MOST_WORKERS)
    alive = [
        one
        for one in beats.heard(session, ProcessKind.WORKER, limit=MOST_WORKERS)
        if one.seconds_ago <= silence
    ]
    workers = Finding("Workers", "ok", f"Alive: {len(alive)}.")
    if not alive:
        workers = Finding("Workers", "problem", "None is alive.", "Start `runyard worker`.")
    elif silent:
        names = ", ".join(one.name for one in silent)
        workers = Finding("Workers", "warning", f"Alive: {len(alive)}. Silent: {names}.", "See their logs.")
    return [reconciler, workers]


def _stuck(session: Session, settings: Settings, principal: Principal) -> list[Finding]:
    late = settings.lease_ttl + ROUNDS * settings.reconcile_interval
    conditions = {
        "Lost": queries.is_lost(lease_ttl=settings.lease_ttl, since=late),
        "Stop unconfirmed": queries.stops_unconfirmed(since=late),
        "Expired": queries.is_expired(queue_ttl=settings.queue_ttl, since=late),
        "Overdue": queries.is_overdue(
            max_duration=settings.max_duration, cancel_grace=settings.cancel_grace, since=late
        ),
    }
    found = counts(session, principal.organization_id, list(conditions.values()))
    stuck = [
        Finding(name, "problem", f"{count} runs.", "Check that `runyard reconciler` runs.")
        for name, count in zip(conditions, found, strict=True)
        if count
    ]
    return stuck or [Finding("Runs", "ok", "No run of this organization is stuck.")]
