"""`runyard doctor`: whether everything is there, and everything that is stored is whole."""

from dataclasses import asdict
from typing import Any, Final

import orjson
import typer

from shared.cli.console import output, output_json, output_line
from shared.cli.database_access import DataDir, database_settings
from shared.cli.dev_file import DATA_DIR
from shared.cli.listing import AsJson, counted, print_list
from shared.doctor.diagnosis import Diagnosis, diagnose
from shared.doctor.findings import Severity

app = typer.Typer(add_completion=False)

UNWELL: Final = 3
"""The exit code when there is a problem; 1 is that there was nothing to look at."""

COLUMNS: Final = ("severity", "name", "seen", "advice")

SHOWN: Final = 20
"""Violations that a person is shown; --json has more of them."""


@app.command()
def doctor(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """Look at PostgreSQL, Redis, the workers and every run, and say what to do; nothing is changed.

    Exit code 0 if all is well but for warnings, 3 if there is a problem.
    """
    diagnosis = diagnose(database_settings(data_dir))
    if as_json:
        output_json(_json(diagnosis), option=orjson.OPT_INDENT_2)
    else:
        _tell(diagnosis)
    raise typer.Exit(UNWELL if diagnosis.worst is Severity.PROBLEM else 0)


def _json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "worst": diagnosis.worst,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "violations": [asdict(violation) for violation in diagnosis.violations],
    }


def _tell(diagnosis: Diagnosis) -> None:
    print_list([asdict(finding) for finding in diagnosis.findings], COLUMNS, as_json=False)
    for violation in diagnosis.violations[:SHOWN]:
        output_line(str(violation))
    if (more := len(diagnosis.violations) - SHOWN) > 0:
        output(f"… and {more} more: --json lists them.")
    count = {
        severity: sum(finding.severity is severity for finding in diagnosis.findings) for severity in Severity
    }
    problems, warnings = count[Severity.PROBLEM], count[Severity.WARNING]
    output(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}.")
