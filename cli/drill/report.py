"""The report of a drill: tables for people, JSON for programs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
from rich import box
from rich.table import Table
from rich.text import Text

from cli.drill.checks import Verdict
from cli.drill.drill import Result
from cli.drill.record import Facts
from shared.terminal import visible

SHOWN: Final = 8  # violations of one check that the table shows; the JSON file has all


def as_json(result: Result, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The whole result. Times are seconds since the start."""
    facts = result.facts
    return {
        "kept": result.is_kept,
        "settings": dict(settings),
        "took": round(result.took, 1),
        "settled_in": facts.settled_in,
        "load": load_figures(facts),
        "faults": [asdict(fault) for fault in facts.faults],
        "checks": [{**asdict(verdict), "kept": verdict.is_kept} for verdict in result.verdicts],
        "runs": [
            {
                "number": run.plan.number,
                "run_ids": sorted(set(run.run_ids)),
                "submitted_at": run.submitted_at,
                "ended_at": run.ended_at,
                "status": run.final["status"] if run.final else None,
                "status_detail": run.final.get("status_detail") if run.final else None,
                "cancel_answer": run.cancel_answer,
                "events": run.event_count,
            }
            for run in facts.runs
        ],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result as JSON."""
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def load_figures(facts: Facts) -> dict[str, Any]:
    """Figures of the load and its outcome."""
    accepted = [run for run in facts.runs if run.run_ids]
    transcripts = [transcript for run in accepted for transcript in run.transcripts]
    ended = [run.final for run in accepted if run.final]
    reasons = ((final.get("status_detail") or {}).get("reason") for final in ended)
    return {
        "runs": len(facts.runs),
        "accepted": len(accepted),
        "ends": dict(Counter(run.final["status"] if run.final else "unknown" for run in accepted)),
        "reasons": dict(Counter(filter(None, reasons))),
        "cancels": sum(run.cancel_answer is not None for run in accepted),
        "readers": len(transcripts),
        "events_read": sum(len(transcript.digests) for transcript in transcripts),
        "answers": dict(sorted(facts.answers.counts.items())),
        "unreachable": facts.answers.unreachable,
    }


def tables(result: Result, settings: Mapping[str, Any]) -> list[Table]:
    """The result as tables."""
    figures = {
        **load_figures(result.facts),
        "settled in": f"{result.facts.settled_in or 0:.1f} s, of {result.facts.bound:.0f} s",
        "took": f"{result.took:.0f} s",
    }
    load: dict[str, str] = {}
    for name, value in figures.items():
        several = isinstance(value, dict)
        shown = ", ".join(f"{key} {number}" for key, number in value.items()) if several else str(value)
        load[name.replace("_", " ")] = shown
    return [
        _pairs("Settings", settings),
        _fault_table(result.facts),
        _pairs("Load", load),
        _check_table(result.verdicts),
    ]


def _pairs(title: str, pairs: Mapping[str, Any]) -> Table:
    table = Table("", "", title=title, box=box.SIMPLE, show_header=False, title_justify="left")
    for name, value in pairs.items():
        _row(table, name, str(value))
    return table


def _row(table: Table, *cells: str) -> None:
    """Add a row. Cells may come from a server, so control characters are made visible."""
    table.add_row(*(Text(visible(cell)) for cell in cells))


def _fault_table(facts: Facts) -> Table:
    table = Table("at", "fault", "held", "whole after", title="Faults", box=box.SIMPLE, title_justify="left")
    for fault in facts.faults:
        what = fault.name if fault.consists_of == (fault.name,) else " + ".join(fault.consists_of)
        whole = "never" if fault.whole_at is None else f"{fault.whole_at - fault.healed_at:.1f} s"
        _row(
            table,
            f"{fault.injected_at:.1f} s",
            what,
            f"{fault.healed_at - fault.injected_at:.1f} s",
            f"not injected: {fault.error}" if fault.error else whole,
        )
    return table


def _check_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table("", "check", "promise", "examined", title="Checks", box=box.SIMPLE, title_justify="left")
    for verdict in verdicts:
        word = "BROKEN" if not verdict.is_kept else "kept" if verdict.examined else "not seen"
        lines = [verdict.promise, *([verdict.note] if verdict.note else [])]
        lines += [f"- {violation}" for violation in verdict.violations[:SHOWN]]
        if len(verdict.violations) > SHOWN:
            lines.append(f"- and {len(verdict.violations) - SHOWN} more")
        _row(table, word, verdict.name, "\n".join(lines), str(verdict.examined))
    return table
