"""Durations as people write them."""

from datetime import timedelta

import pytest

from shared.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 2_592_000),
        ("12h", 43_200),
        ("90m", 5400),
        ("45s", 45),
        ("1w", 604_800),
        ("3600", 3600),
        ("0", 0),
        ("-1d", -86_400),
        (" 1.5H ", 5400),
    ],
)
def test_a_number_with_a_unit_is_read(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "d", "30 days", "P30D", "1e9", "nan", "1d2h", "--1", "30\n\n0"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 40 + "d", "-" + "9" * 400])
def test_what_could_not_be_kept_is_refused(text):
    with pytest.raises(ValueError, match="at most 100 years"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["30d", "36h", "90m", "45s", "0s", "0.5s"])
def test_a_duration_is_written_as_it_is_read(text):
    assert format_duration(parse_duration(text)) == text


def test_a_duration_is_written_in_its_largest_whole_unit():
    assert format_duration(timedelta(hours=48)) == "2d"
