"""What the detector of personal data finds, and what it leaves alone."""

import time

import pytest

from worker.guardrails import pii
from worker.guardrails.pii import detect

FOUND = {
    "write to ada.l+x@mail.example.com.": ("ada.l+x@mail.example.com", "EMAIL_ADDRESS"),
    "call +1 212 555 2368 now": ("+1 212 555 2368", "PHONE_NUMBER"),
    "call (212) 555-2368 now": ("(212) 555-2368", "PHONE_NUMBER"),
    "Tel: +49 30 901820": ("+49 30 901820", "PHONE_NUMBER"),
    "card 4111 1111 1111 1111, please": ("4111 1111 1111 1111", "CREDIT_CARD"),
    "card 378282246310005": ("378282246310005", "CREDIT_CARD"),
    "IBAN DE89 3704 0044 0532 0130 00 OF MINE": ("DE89 3704 0044 0532 0130 00", "IBAN"),
    "to GB82WEST12345698765432.": ("GB82WEST12345698765432", "IBAN"),
    "SSN 536-90-4399": ("536-90-4399", "US_SSN"),
    "SSN 536 90 4399": ("536 90 4399", "US_SSN"),
    "from 192.168.1.77": ("192.168.1.77", "IP_ADDRESS"),
    "from 2001:db8::8a2e:370:7334.": ("2001:db8::8a2e:370:7334", "IP_ADDRESS"),
    "card 2223003122003222": ("2223003122003222", "CREDIT_CARD"),
    "card 4111.1111.1111.1111": ("4111.1111.1111.1111", "CREDIT_CARD"),
    "card 4111\u00a01111\u00a01111\u00a01111": ("4111\u00a01111\u00a01111\u00a01111", "CREDIT_CARD"),
    "iban de89-3704-0044-0532-0130-00": ("de89-3704-0044-0532-0130-00", "IBAN"),
    "to ada@example.com_": ("ada@example.com", "EMAIL_ADDRESS"),
    "to ada@b\u00fccher.example": ("ada@b\u00fccher.example", "EMAIL_ADDRESS"),
}

CLEAN = [
    "",
    "The quick brown fox jumps over 13 lazy dogs on 2026-11-27 at 10:20:30.",
    "card 4111 1111 1111 1112",
    "IBAN DE88370400440532013000",
    "run 0a6f2f52-25f7-43e2-9be0-1b0f6a5d7c11 of a5d7c110a6f2f5225f743e29be01b0f6",
    "version 1.2.3 or 300.1.1.1 or 1.2.3.4.5",
    "me@localhost and @handle",
    "at 10:20:30, std::vector, a::b, ::",
    "1234567890",
]


@pytest.mark.parametrize("text", FOUND)
def test_what_tells_who_somebody_is_is_found_with_its_place_and_its_kind(text):
    found = {(text[one.start : one.end], one.kind) for one in detect(text)}
    assert FOUND[text] in found


@pytest.mark.parametrize("text", FOUND)
def test_the_default_threshold_lets_none_of_it_pass(text):
    assert max(one.score for one in detect(text)) >= 0.5


@pytest.mark.parametrize("text", CLEAN)
def test_nothing_is_found_in_what_only_looks_alike(text):
    assert detect(text) == []


def test_a_number_behind_many_others_is_found():
    assert [one.kind for one in detect("99a" * 70_000 + "+14155552671")] == ["PHONE_NUMBER"]


@pytest.mark.parametrize(
    "unit",
    [
        "aa00-",
        "a:",
        "::",
        "2001:db8:",
        "1:2:3:4:5:6:7:",
        "AA00 BBBB ",
        "AA00BBBB",
        "a@a.",
        "1.2.",
        "4 ",
        "ab.cd-",
        "+1 2 ",
    ],
)
def test_no_text_takes_long(unit):
    text = unit * (30_000 // len(unit))
    began = time.process_time()
    detect(text)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("piece", ["2125550100 ", "AA11" + "a" * 30 + " ", "DE89 3704 0044 0532 0130 00 "])
def test_a_text_that_is_made_to_be_looked_at_for_long_is_refused(piece, monkeypatch):
    monkeypatch.setattr(pii, "MAX_SECONDS", 0.05)
    begun = time.process_time()
    with pytest.raises(pii.TooExpensiveError):
        detect(piece * (200_000 // len(piece)))
    assert time.process_time() - begun < 5


def test_numbers_that_are_none_do_not_take_longer_than_a_text_may(monkeypatch):
    """Between two telephone numbers there may be a megabyte of what looks like one."""
    monkeypatch.setattr(pii, "MAX_SECONDS", 0.1)
    started = time.thread_time()
    with pytest.raises(pii.TooExpensiveError):
        pii.detect("1/2/" * 250_000)
    assert time.thread_time() - started < 3
