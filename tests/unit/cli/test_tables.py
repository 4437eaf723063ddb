"""Tables at the widths of terminals: a row is one line, ids are whole, nothing is left out unsaid."""

import io
import re
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli import console, listing
from cli.commands import config, doctor, keys, organizations, purge, queues, stored_runs, top, users, workers
from cli.durations import ago
from cli.listing import print_list
from cli.tables import Column, Fit, Table
from shared.lifecycle import Reason, RunStatus

WIDTHS = [80, 100, 120, 200]
NOW = datetime.now(UTC)
IDS = [str(uuid.uuid4()) for _ in range(3)]
LONG = "The Organization of Ants and of all Other Insects that Live in the Ground"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RUNS = [
    {
        "run_id": one,
        "status": status,
        "reason": reason,
        "organization": LONG,
        "subject": "a helpful assistant with a long name",
        "worker": "worker@a-long-host-name.example.com",
        "created_at": NOW - age,
    }
    for one, status, reason, age in zip(
        IDS,
        [RunStatus.SUCCEEDED, RunStatus.ERROR, RunStatus.CANCELLED],
        [Reason.COMPLETED, Reason.INVALID_CONFIGURATION, Reason.WAITING_FOR_THREAD],
        [timedelta(seconds=3), timedelta(hours=47), timedelta(days=400)],
        strict=True,
    )
]
KEYS = [
    {
        "api_key_id": one,
        "name": "runyard keys create",
        "organization": LONG,
        "email": "operator@localhost.localdomain.example",
        "scope": "admin",
        "created_at": NOW - timedelta(days=30),
        "last_used": None,
    }
    for one in IDS
]
USERS = [
    {"user_id": one, "email": f"{one}@example.com", "organizations": [LONG, "Bees"], "created_at": NOW}
    for one in IDS
]
ORGANIZATIONS = [{"organization_id": one, "name": LONG, "users": 12, "created_at": NOW} for one in IDS]
RETENTION = [{"organization_id": IDS[0], "name": LONG, "runs": "default", "threads": "keep"}]
QUEUES = [
    {"queue": name, "waiting": 100, "oldest": "12 min 3 s", "held_back": 0, "messages": 7, "workers": "?"}
    for name in ("runs", "structures-of-the-big-machines")
]
WORKERS = [
    {
        "worker": f"worker@a-long-host-name.example.com-{number}",
        "state": "unreached",
        "busy": 50,
        "slots": 50,
        "queues": "runs, structures, others",
        "last_beat": "12 min 3 s ago",
        "process": f"a-long-host-name.example.com:{number}",
    }
    for number in range(3)
]
PURGED = [{"what": name, "found": 1_000_000, "deleted": 0} for name in ("runs", "events", "unused threads")]

TABLES = {
    "runs": (RUNS, stored_runs.COLUMNS, ("run_id", "status", "reason")),
    "keys": (KEYS, keys.COLUMNS, ("api_key_id", "scope")),
    "users": (USERS, users.COLUMNS, ("user_id",)),
    "orgs": (ORGANIZATIONS, organizations.COLUMNS, ("organization_id",)),
    "retention": (RETENTION, organizations.RETENTION_COLUMNS, ("organization_id", "runs", "threads")),
    "queues": (QUEUES, queues.COLUMNS, ("queue", "waiting", "workers")),
    "workers": (WORKERS, workers.COLUMNS, ("worker", "state", "busy", "slots")),
    "purge": (PURGED, purge.COLUMNS, ("what", "found", "deleted")),
}


def drawn(block, width):
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(block, crop=False)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_one_line_in_which_what_is_copied_is_whole(name, width):
    rows, columns, whole = TABLES[name]
    header, rule, *lines = drawn(Table(rows, columns), width)
    assert len(lines) == len(rows)
    assert set(rule) == {"─"}
    assert max(map(cell_len, (header, *lines))) <= width
    for row, line in zip(rows, lines, strict=True):
        for column in whole:
            assert column.replace("_", " ") in header
            assert str(row[column]) in line.replace("  ", " | ")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_there_or_said_to_be_left_out(name, width, monkeypatch):
    rows, columns, _ = TABLES[name]
    file, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(
        console, "_answers", Console(file=file, width=width, force_terminal=True, color_system=None)
    )
    monkeypatch.setattr(console, "_notices", Console(file=errors, width=400, color_system=None))
    print_list(rows, columns, as_json=False)
    header = file.getvalue().splitlines()[0]
    for column in columns:
        assert column.header(has_ages=True) in header or column.header(has_ages=True) in errors.getvalue()
    if width == 200:
        assert errors.getvalue() == ""


def test_a_narrow_table_of_runs_has_ages_and_a_wide_one_has_times():
    assert "created at" not in drawn(Table(RUNS, stored_runs.COLUMNS), 80)[0]
    narrow = drawn(Table(RUNS, stored_runs.COLUMNS), 80)
    assert narrow[3].endswith("  47h ago")
    assert narrow[4].endswith("  400d ago")
    wide = drawn(Table(RUNS, stored_runs.COLUMNS), 200)
    assert "created at" in wide[0]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d$", wide[2])


def test_a_text_that_is_cut_says_so():
    (line,) = drawn(Table([{"a": "x" * 50, "b": "y" * 20}], [Column("a", Fit.CUT), Column("b")]), 40)[2:]
    assert line == f"{'x' * 17}…  {'y' * 20}"


def test_wide_characters_take_two_columns():
    lines = drawn(Table([{"a": "漢字" * 20, "b": "end"}], [Column("a", Fit.CUT), Column("b")]), 30)
    assert cell_len(lines[2]) <= 30
    assert lines[2].endswith("  end")


def test_an_id_is_whole_even_where_it_has_no_room():
    (line,) = drawn(Table(RUNS[:1], stored_runs.COLUMNS), 40)[2:]
    assert line.split() == [IDS[0], "SUCCEEDED", "Completed"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("columns", [config.COLUMNS, doctor.COLUMNS])
def test_prose_goes_on_in_the_next_line_and_is_not_cut(width, columns):
    prose = [f"word{number}" for number in range(60)]
    row = {column.name: " ".join(prose) if column.fit is Fit.WRAPPED else column.name for column in columns}
    lines = drawn(Table([row], columns), width)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    words = " ".join(lines[2:]).split()
    for word in prose:
        assert words.count(word) == sum(column.fit is Fit.WRAPPED for column in columns)


def frame(**more):
    failures = [{**run, "message": f"The model refused: {LONG}, {LONG}", "subject": None} for run in RUNS]
    return SimpleNamespace(
        at=NOW,
        active=dict.fromkeys(("QUEUED", "STARTING", "RUNNING"), 7),
        created_per_minute=1,
        ended_per_minute=None,
        queues=[],
        workers=[],
        failures=failures,
        fault=None,
        **more,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_top_shows_of_each_failure_the_whole_id_and_why(width):
    lines = drawn(top.drawn(frame()), width)
    assert max(map(cell_len, lines)) <= width
    found = [number for number, line in enumerate(lines) if UUID.search(line)]
    assert [UUID.search(lines[number])[0] for number in found] == IDS
    for number, run in zip(found, RUNS, strict=True):
        assert {run["status"], run["reason"]} <= set(lines[number].split())
        shown = lines[number] if width >= 120 else lines[number + 1]
        assert "The Organ" in shown
        assert "The model" in shown


def test_a_frame_for_a_file_has_long_lines(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "_answers", Console(file=file, width=80))
    console.output_block(top.drawn(frame()))
    assert any(len(line) > 120 for line in file.getvalue().splitlines())
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (0.4, "now"),
        (59, "59s ago"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (3600, "1h ago"),
        (47 * 3600, "47h ago"),
        (48 * 3600, "2d ago"),
        (400 * 86_400, "400d ago"),
    ],
)
def test_an_age_is_short(seconds, said):
    assert ago(seconds) == said


@pytest.mark.parametrize("name", TABLES)
def test_programs_get_every_column_whatever_the_terminal(name, monkeypatch, capsys):
    rows, columns, _ = TABLES[name]
    monkeypatch.setattr(listing, "is_terminal", lambda: False)
    print_list(rows, columns, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split("\t")) for line in lines] == [len(columns)] * len(rows)
