"""What a drill shows of a server's words."""

import io

from rich.console import Console

from cli.drill.checks import Verdict
from cli.drill.drill import Result
from cli.drill.record import Facts
from cli.drill.report import tables

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


def test_the_table_of_promises_says_which_were_kept():
    kept = Verdict("kept one", "what it is", examined=2, violations=[])
    unseen = Verdict("unseen one", "what it is", examined=0, violations=[])
    broken = Verdict("broken one", "what it is", examined=1, violations=["run 1"])
    shown = io.StringIO()
    for table in tables(Result(Facts(runs=[], faults=[]), [kept, unseen, broken], took=1.0), {}):
        Console(file=shown, width=200).print(table)
    lines = shown.getvalue().splitlines()
    for name, word in (("kept one", "kept"), ("unseen one", "not seen"), ("broken one", "BROKEN")):
        assert [line.split(name)[0].strip() for line in lines if name in line] == [word]
