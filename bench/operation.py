"""Time of what the commands of operators read, in an installation with a million runs.

`make bench BENCH=operation`: loads the runs into its own PostgreSQL within two minutes. The runs are one
organization's; a thousand others have none, and cost what their empty lists cost.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from bench.measure import Figure, median, repeated, show
from bench.runs_list import million_runs
from cli.operation import workload
from cli.operation.broker import BrokerView
from cli.operation.reading import reader, reading
from cli.operation.runs import RunQuery, list_runs, show_run
from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus

ORGANIZATIONS: Final = 1000
TIMES: Final = 10
TARGET: Final = 500.0  # milliseconds

NO_BROKER: Final = BrokerView(fault="not asked")


def main() -> None:
    """Load, measure, report."""
    with million_runs() as loaded:
        with unit_of_work(loaded.sessions) as session:
            session.execute(
                text(
                    "INSERT INTO organizations (id, name, default_bucket_id) SELECT gen_random_uuid(),"
                    " 'org ' || n, gen_random_uuid() FROM generate_series(1, :count) n"
                ),
                {"count": ORGANIZATIONS},
            )
            session.execute(text("ANALYZE"))
        lists: Mapping[str, RunQuery] = {
            "runs list": RunQuery(50),
            "runs list --status ERROR": RunQuery(50, statuses=frozenset({RunStatus.ERROR})),
            "runs list --assistant": RunQuery(50, subject_id=loaded.assistant_id),
            "runs list --older-than 60d": RunQuery(50, older_than=timedelta(days=60)),
            "runs list --newer-than 1h": RunQuery(50, newer_than=timedelta(hours=1)),
            "runs list --reason, of no run at all": RunQuery(50, reason=Reason.EXPIRED),
        }
        with reader(loaded.settings) as engine:
            with reading(engine) as session:
                some_run = list_runs(session, RunQuery(1)).rows[0]["run_id"]
            reads: dict[str, Callable[[Session], Any]] = {
                name: lambda session, query=query: list_runs(session, query) for name, query in lists.items()
            } | {
                "runs show": lambda session: show_run(session, some_run),
                "queues": lambda session: workload.read_queues(session, loaded.settings, NO_BROKER),
                "workers": lambda session: workload.read_workers(session, loaded.settings, NO_BROKER),
                "top: unfinished runs": workload.active_runs,
                "top: created runs": workload.created_last_minute,
                "top: ended runs": workload.read_sample,
            }
            show(
                f"What operators' commands read of a million runs, {ORGANIZATIONS + 1} organizations",
                [measure(engine, name, read) for name, read in reads.items()],
            )


def measure(engine: Engine, name: str, read: Callable[[Session], Any]) -> Figure:
    """Time a read in a transaction of its own, as the commands do."""

    def once() -> None:
        with reading(engine) as session:
            read(session)

    return median(name, repeated(once, times=TIMES), target=TARGET)


if __name__ == "__main__":
    main()
