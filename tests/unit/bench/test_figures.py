"""What a figure says of its samples, and what the table shows."""

import io
import json

import pytest
from rich.console import Console

from bench.figures import (
    WIDTH,
    Figure,
    Rounds,
    TimeIsUpError,
    at_least,
    at_most,
    in_rounds,
    percentile,
    show,
    write_report,
)


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def table(*figures: Figure) -> list[str]:
    console = Console(file=io.StringIO(), width=WIDTH)
    show("2 cores", figures, console=console)
    return console.file.getvalue().splitlines()


def test_a_figure_is_the_median_of_its_samples():
    assert Figure("create", "rate", "/s", (30.0, 10.0, 11.0)).median == 11


def test_the_ratio_is_the_median_over_the_limit():
    assert Figure("create", "rate", "/s", (10.0, 20.0, 60.0), limit=80.0).ratio == 0.25


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("s", "rate", "/s", (500.0,), at_least(500)), "reached"),
        (Figure("s", "rate", "/s", (499.0,), at_least(500)), "missed"),
        (Figure("s", "time", "ms", (8.0,), at_most(8)), "reached"),
        (Figure("s", "time", "ms", (8.1,), at_most(8)), "missed"),
        (Figure("s", "rate", "/s", (300.0,), at_least(300), 1000.0, at_least(0.33)), "missed"),
        (Figure("s", "rate", "/s", (340.0,), at_least(300), 1000.0, at_least(0.33)), "reached"),
        (Figure("s", "rate", "/s", (300.0,)), ""),
        (Figure("s", "rate", "/s", (), at_least(300)), ""),
    ],
)
def test_a_target_is_reached_or_missed_by_the_median(figure: Figure, verdict: str):
    assert figure.verdict == verdict


@pytest.mark.parametrize(("percent", "value"), [(1, 1.99), (50, 50.5), (99, 99.01)])
def test_a_percentile_lies_between_samples(percent: int, value: float):
    assert percentile(range(1, 101), percent) == pytest.approx(value)


def test_the_percentile_of_one_sample_is_that_sample():
    assert percentile([7.0], 99) == 7


def test_every_column_of_the_table_has_a_heading():
    heading = next(line for line in table(Figure("create", "rate", "/s", (1.0,))) if "scenario" in line)
    headings = "scenario figure median min … max target verdict limit of limit"
    assert " ".join(heading.split()) == headings


def test_the_table_fits_its_width_and_shows_all_of_a_figure():
    note = "2 of 3 rounds: the others did not fit into 20 s, and this note is longer than its column is wide"
    samples = (1234.5, 1000.0, 99_999.0)
    lines = table(
        Figure("idle_streams", "a" * 50, "/s", samples, at_least(12_345), 5000.0, at_least(0.33), note)
    )
    assert max(map(len, lines)) <= WIDTH
    text = " ".join(" ".join(lines).split())
    for shown in ("1,234 /s", "1,000 … 99,999", "≥ 12345, ≥ 33%", "missed", "5,000", "25%", "2 of 3 rounds"):
        assert shown in text


def test_a_figure_without_samples_is_shown_with_its_reason():
    lines = table(Figure("cancel", "did not finish", note="broken off after 60 s"))
    assert any("broken off after 60 s" in line for line in lines)


def test_the_report_holds_all_samples(tmp_path):
    write_report(
        tmp_path / "made" / "report.json", "2 cores", [Figure("s", "n", "ms", (3.0, 1.0), at_most(8))]
    )
    (figure,) = json.loads((tmp_path / "made" / "report.json").read_text())["figures"]
    expected = {"samples": [3.0, 1.0], "median": 2.0, "target": "≤ 8", "verdict": "reached", "ratio": None}
    assert expected.items() <= figure.items()


def test_each_round_adds_one_sample():
    values = iter([3.0, 1.0, 2.0])
    (figure,) = in_rounds(3, "s", lambda found: found.add("n", "ms", next(values)), within=1e9)
    assert figure.samples == (3, 1, 2)
    assert not figure.note


def test_rounds_that_do_not_fit_are_left_out_and_said():
    clock = Clock()

    def measure(found: Rounds) -> None:
        clock.now += 4
        found.add("n", "ms", clock.now)
        found.add("m", "ms", clock.now)

    first, second = in_rounds(3, "s", measure, within=10, clock=clock)
    assert first.samples == (4, 8)
    assert first.note.startswith("2 of 3 rounds")
    assert not second.note


def test_the_first_round_is_measured_however_little_time_there_is():
    clock = Clock()

    def measure(found: Rounds) -> None:
        clock.now += 100
        found.add("n", "ms", 1.0)

    (figure,) = in_rounds(3, "s", measure, within=0, clock=clock)
    assert figure.samples == (1,)


@pytest.mark.parametrize("error", [TimeoutError("slow"), TimeIsUpError("broken off")])
def test_a_round_that_fails_keeps_the_figures_of_those_before_it(error: BaseException):
    rounds = iter([1.0, error])

    def measure(found: Rounds) -> None:
        value = next(rounds)
        if isinstance(value, BaseException):
            raise value
        found.add("n", "ms", value)

    figures = in_rounds(3, "s", measure, within=1e9)
    assert next(figures).samples == (1,)
    with pytest.raises(type(error)):
        next(figures)


def test_the_report_has_a_table_for_the_manual(tmp_path):
    figures = [
        Figure("create", "rate", "/s", (5.0, 4.0, 6.0), at_least(4), 10.0),
        Figure("create", "p99", "ms", note="did not finish"),
    ]
    write_report(tmp_path / "report.json", "2 cores", figures)
    *_, first, second = (tmp_path / "report.md").read_text().splitlines()
    assert first == "| `create` | rate | 5 /s | 4 … 6 | ≥ 4 | reached | 10 | 50% |"
    assert second == "|  | p99<br>did not finish | - |  |  |  |  |  |"
