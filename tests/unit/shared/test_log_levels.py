"""`RUNYARD_LOG_LEVELS`."""

import logging

import pytest
from pydantic import ValidationError

from shared.log_levels import FLOORS, floor_of, parse_levels
from shared.processes.failures import sentence_of
from shared.settings import Settings

URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}


def test_pairs_are_read_in_any_case_and_with_spaces():
    wanted = {"worker.attempt": logging.DEBUG, "celery": logging.WARNING}
    assert parse_levels(" worker.attempt=debug , celery = WARNING,") == wanted
    assert parse_levels("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("worker.attempt", "must be module=level, separated by commas; 'worker.attempt' is not"),
        ("=debug", "'=debug' is not"),
        ("worker attempt=debug", "'worker attempt=debug' is not"),
        ("worker=loud", "the level of worker must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("worker=", "the level of worker must be one of"),
        ("api=info,api=debug", "names api twice"),
        ("griptape=error", "griptape cannot be logged below CRITICAL"),
        ("openai._base_client=debug", "openai._base_client cannot be logged below WARNING"),
        ("sqlalchemy.engine.Engine=debug", "cannot be logged below INFO"),
    ],
)
def test_a_bad_value_stops_the_start_with_a_sentence(text, sentence):
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({**URLS, "log_levels": text})
    said = sentence_of(raised.value)
    assert said.startswith("RUNYARD_LOG_LEVELS: ")
    assert sentence in said


def test_a_library_has_the_floor_of_what_is_above_it():
    assert floor_of("sqlalchemy") == 0
    assert floor_of("sqlalchemy.engine.Engine") == FLOORS["sqlalchemy.engine"]
    assert parse_levels("sqlalchemy=debug,openai=error") == {
        "sqlalchemy": logging.DEBUG,
        "openai": logging.ERROR,
    }
