"""For how long a provider asks to be left alone."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from worker.executors.griptape.pauses import asked_pause

RETRY_INFO = {
    "error": {
        "code": 429,
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.5s"},
        ],
    }
}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "4000", "retry-after": "9"}, 4),
        ({"Retry-After-Ms": "250"}, 0.25),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": ""}, 0),
        ({"retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99999999999 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 +9999999999"}, 0),
        ({}, 0),
    ],
)
def test_headers_say_it_in_numbers(headers, seconds) -> None:
    assert asked_pause(headers, None, "") == seconds


def test_a_header_says_it_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    assert 55 < asked_pause({"retry-after": date}, None, "") <= 60


def test_a_date_that_has_passed_asks_for_nothing() -> None:
    assert asked_pause({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None, "") == 0


@pytest.mark.parametrize("body", [RETRY_INFO, [RETRY_INFO]])
def test_google_says_it_in_the_body(body) -> None:
    assert asked_pause({}, body, "") == 38.5


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached. Please try again in 20s.", 20),
        ("Please try again in 1m30s.", 90),
        ("Please try again in 6ms", 0.006),
        ("Please retry in 38.5s.", 38.5),
        ("Please retry after 10 seconds.", 10),
        ("Try again later. There are 5s in it.", 0),
        ("It took 20s.", 0),
    ],
)
def test_it_may_be_in_the_words_alone(words, seconds) -> None:
    assert asked_pause({}, None, words) == pytest.approx(seconds)
