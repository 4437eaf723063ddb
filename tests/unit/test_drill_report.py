"""What a drill shows of a server's words."""

import io

from rich.console import Console

from shared.drill.checks import Verdict
from shared.drill.drill import Result
from shared.drill.record import Facts
from shared.drill.report import tables

STEERING = "\x1b]52;c;YQ==\x07\x9b2J\u202eevil [link=http://x]y[/link]\rover"


def test_a_servers_words_are_shown_and_not_obeyed():
    facts = Facts(runs=[], faults=[])
    facts.answers.counts[STEERING] = 1
    verdict = Verdict(STEERING, STEERING, examined=1, violations=[STEERING], note=STEERING)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=500)
    for table in tables(Result(facts, [verdict], took=1.0), {STEERING: STEERING}):
        console.print(table)
    text = shown.getvalue()
    assert not any(steering in text for steering in ("\x1b]", "\x9b", "\u202e", "\r", "\x07"))
    assert "\\x1b]52" in text
    assert "[link=http://x]" in text
