"""`runyard doctor`: check the installation and the stored data, read-only."""

from collections import Counter
from dataclasses import asdict
from typing import Final

import orjson
import typer

from cli.console import output, output_json, output_line
from cli.database_access import DataDir, database_settings
from cli.doctor.diagnosis import diagnose
from cli.doctor.findings import Severity
from cli.doctor.invariants import RULES
from cli.exit_codes import EXIT_PROBLEMS
from cli.listing import AsJson, counted, print_list
from cli.local.dev_file import DATA_DIR
from cli.progress import progress
from cli.tables import Column, Fit

app = typer.Typer(add_completion=False)

COLUMNS: Final = (
    Column("severity"),
    Column("name"),
    Column("seen", Fit.WRAPPED),
    Column("advice", Fit.WRAPPED),
)

MAX_SHOWN: Final = 20
"""Violations in the table; --json has more."""


@app.command()
def doctor(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """Check PostgreSQL, Redis, the workers and all runs, read-only.

    Exit codes: 0 no problem (warnings allowed), 3 a problem, 1 nothing could be checked.
    """
    settings = database_settings(data_dir)
    with progress("Checking", total=len(RULES)) as advance:
        diagnosis = diagnose(settings, on_checked=lambda: advance(1))
    if as_json:
        answer = {
            "worst": diagnosis.worst,
            "findings": [asdict(finding) for finding in diagnosis.findings],
            "violations": [asdict(violation) for violation in diagnosis.violations],
        }
        output_json(answer, option=orjson.OPT_INDENT_2)
    else:
        print_list([asdict(finding) for finding in diagnosis.findings], COLUMNS, as_json=False)
        for violation in diagnosis.violations[:MAX_SHOWN]:
            output_line(str(violation))
        if (more := len(diagnosis.violations) - MAX_SHOWN) > 0:
            output(f"… and {more} more: --json lists them.")
        count = Counter(finding.severity for finding in diagnosis.findings)
        problems, warnings = count[Severity.PROBLEM], count[Severity.WARNING]
        output(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}.")
    raise typer.Exit(EXIT_PROBLEMS if diagnosis.worst is Severity.PROBLEM else 0)
