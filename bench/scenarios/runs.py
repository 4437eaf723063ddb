"""`create` and `through`: how many runs a second are accepted, and how many reach their end."""

from collections.abc import Iterator
from statistics import median
from typing import Final

from bench import limits
from bench.figures import Figure, Rounds, at_least, at_most, in_rounds, percentile
from bench.plant import Plant, offers, report
from bench.scenarios.bursts import (
    CALLERS,
    ECHO,
    MILLI,
    NOOP,
    WARM_UP,
    burst_size,
    create,
    unworked,
    work_off,
)

ROUNDS: Final = 3
CREATE_SECONDS: Final = 1.5  # of a round
WORK_SECONDS: Final = 2.5  # of a burst, by the rate of the burst before
POOL: Final = 50  # threads of a worker process, as shipped
ECHO_GOALS: Final = {1: 150, 2: 220}  # a second, by worker processes
ECHO_CPU_GOAL: Final = 5.5  # milliseconds of the worker a run
SHARE_GOAL: Final = 0.33  # of raw Celery


def creating(plant: Plant, within: float) -> Iterator[Figure]:
    """Create no-op runs by one API process, then by two; the worker stands still meanwhile."""
    report("create: one API process")
    (created, _), assistant_id = work_off(plant, NOOP, WARM_UP), plant.assistant(NOOP)
    servers = (plant.database_url, plant.stack.redis_admin_url)
    size = burst_size(created.rate, CREATE_SECONDS)
    floor: list[float] = []

    def one_process(found: Rounds) -> None:
        floor.append(limits.insert_and_commit(servers[0], created.a_run))
        found.add("bare INSERT + COMMIT, 8 connections", "/s", floor[-1])
        found.add("bare send, one thread", "/s", limits.send_tasks(*servers))
        with unworked(plant, assistant_id):
            burst = create(plant, assistant_id, size, [plant.server])
        found.add(
            f"1 API process, {CALLERS} in flight", "/s", burst.rate, target=at_least(500), limit=median(floor)
        )
        found.add("1 API process: request, p50", "ms", percentile(burst.millis, 50))
        found.add("1 API process: request, p99", "ms", percentile(burst.millis, 99), target=at_most(120))
        found.add("1 API process: CPU of the API a run", "ms", burst.api_cpu * MILLI)
        found.add("1 API process: cores of the load generator", "", burst.own_cpu)

    yield from in_rounds(ROUNDS, "create", one_process, within=within / 2)
    report("create: two API processes")
    has_option = offers("api", "--processes")
    with plant.api_beside(*(["--processes", "2"] if has_option else [])) as beside:
        both = [beside] if has_option else [plant.server, beside]
        create_warm = min(size, WARM_UP)

        def two_processes(found: Rounds) -> None:
            with unworked(plant, assistant_id):
                burst = create(plant, assistant_id, size, both)
            name = f"2 API processes, {CALLERS} in flight"
            found.add(name, "/s", burst.rate, target=at_least(650), limit=median(floor))
            found.add("2 API processes: request, p99", "ms", percentile(burst.millis, 99))
            found.add("2 API processes: cores of the load generator", "", burst.own_cpu)

        with unworked(plant, assistant_id):
            create(plant, assistant_id, create_warm, both)
        yield from in_rounds(ROUNDS, "create", two_processes, within=within / 4)


def through(plant: Plant, within: float) -> Iterator[Figure]:
    """Work off bursts of no-op and of echo runs, by one worker process and then by two."""
    report("through: a plain Celery worker")
    (plain,) = plain_celery(plant, within / 6)
    yield plain
    limit = plain.median
    report("through: one worker process")
    sizes = dict.fromkeys((NOOP, ECHO), WARM_UP)

    def rounds(found: Rounds, processes: int) -> None:
        mark = f"{processes} process" + ("es" if processes > 1 else "")
        goal = at_least(ECHO_GOALS[processes])
        (_, noop), (_, echo) = (work_off(plant, model, sizes[model]) for model in (NOOP, ECHO))
        sizes.update({NOOP: burst_size(noop.rate, WORK_SECONDS), ECHO: burst_size(echo.rate, WORK_SECONDS)})
        share = at_least(SHARE_GOAL) if processes == 1 else None
        found.add(f"no-op, {mark}", "/s", noop.rate, target=at_least(300), limit=limit, limit_target=share)
        found.add(f"echo, {mark}", "/s", echo.rate, target=goal, limit=limit)
        found.add(f"no-op, {mark}: CPU a run, worker", "ms", noop.cpu["worker"] * MILLI)
        for part, seconds in echo.cpu.items():
            target = at_most(ECHO_CPU_GOAL) if part == "worker" else None
            found.add(f"echo, {mark}: CPU a run, {part}", "ms", seconds * MILLI, target=target)

    rounds(Rounds("warm-up"), 1)
    yield from in_rounds(ROUNDS, "through", lambda found: rounds(found, 1), within=within / 2.5)
    report("through: two worker processes")
    with plant.worker_beside("--name", "beside", "--processes", "1"):
        work_off(plant, NOOP, WARM_UP)
        yield from in_rounds(ROUNDS, "through", lambda found: rounds(found, 2), within=within / 2.5)


def plain_celery(plant: Plant, within: float) -> Iterator[Figure]:
    """Tasks a second of a Celery worker without the product."""
    servers = (plant.database_url, plant.stack.redis_admin_url)
    with limits.plain_worker(*servers, plant.directory, POOL) as measure:
        yield from in_rounds(
            ROUNDS,
            "through",
            lambda found: found.add("raw Celery no-op, same pool, events on", "/s", measure()),
            within=within,
        )
