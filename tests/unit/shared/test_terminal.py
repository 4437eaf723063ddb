"""What others wrote does not steer a terminal."""

import io
import json
import logging
import sys

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cli import console
from shared import logs
from shared.settings import Settings
from shared.terminal import visible, visible_json, visible_line

ATTACKS = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "over\rwritten": r"over\rwritten",
    "gone\x08\x7f": r"gone\x08\x7f",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u2066a\u2069\u200f": r"\u2066a\u2069\u200f",
    "half \ud83d": r"half \ud83d",
}


@pytest.mark.parametrize(("text", "shown"), ATTACKS.items())
def test_what_steers_is_shown(text, shown):
    assert visible(text) == visible_line(text) == shown


def test_lines_and_tabs_stay_where_there_may_be_several():
    assert visible("a\tb\r\nc\n") == "a\tb\nc\n"
    assert visible_line("a\tb\r\nc\n") == r"a\tb\r\nc\n"


@pytest.mark.parametrize("text", ["grün", "日本語", "👩\u200d👧", "[red]x[/red]"])
def test_what_people_write_stays_as_it_is(text):
    assert visible(text) == visible_line(text) == text


@given(st.text())
def test_nothing_that_is_shown_steers(text):
    for shown in (visible(text), visible_line(text), visible_json(text)):
        assert visible(shown) == shown


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_json_means_the_same(text):
    assert json.loads(visible_json(orjson.dumps([text]).decode())) == [text]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_printer_of_the_command_line_sends_it(attack, capsys):
    console.output(attack)
    console.output_line(f"{attack}\nforged")
    console.notice(attack)
    console.failure(f"{attack} [red]not markup[/red] [link=file:///x]y[/link]")
    said = "".join(capsys.readouterr())
    assert visible(said) == said
    assert "\nforged" not in said
    assert "[red]not markup[/red] [link=file:///x]y[/link]" in said


def test_console_logs_show_it_and_keep_to_their_lines(monkeypatch):
    root = logging.getLogger()
    kept, level, structured = root.handlers[:], root.level, structlog.get_config()
    try:
        monkeypatch.setattr(sys, "stderr", written := io.StringIO())
        urls = {"database_url": "postgresql://h/d", "redis_url": "redis://h", "log_format": "console"}
        logs.configure_logging(Settings.model_validate(urls), process="test")
        log = structlog.get_logger("attacked")
        for attack in ATTACKS:
            said = f"{attack}\nforged line"
            log.warning(said, value=attack, key=f"{attack}\nforged value")
            logging.getLogger("foreign").warning("%s\nforged line", attack)
        logs.flush_logs()
        lines = written.getvalue()
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        structlog.reset_defaults()
        structlog.configure(**structured)
    assert visible(lines) == lines
    assert len(lines.splitlines()) == 2 * len(ATTACKS)
