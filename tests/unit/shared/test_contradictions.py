"""Settings that contradict each other are found, with both names in the sentence."""

import pytest

from shared.contradictions import contradictions
from shared.settings import Settings

URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}


def found(**values):
    return contradictions(Settings.model_validate({**URLS, **values}))


def test_the_defaults_do_not_contradict_each_other():
    assert found() == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"heartbeat": "20", "lease_ttl": "20"}, {"heartbeat": "19", "lease_ttl": "20"}),
        (
            {"termination_grace": "49", "drain_grace": "40", "cancel_grace": "5"},
            {"termination_grace": "50", "drain_grace": "40", "cancel_grace": "5"},
        ),
        (
            {"max_duration": "3601", "max_duration_cap": "3600"},
            {"max_duration": "60", "max_duration_cap": "60"},
        ),
        ({"queue_ttl": "3601", "queue_ttl_cap": "3600"}, {"queue_ttl": "3600", "queue_ttl_cap": "3600"}),
        ({"max_attempts": "4", "max_attempts_cap": "3"}, {"max_attempts": "3", "max_attempts_cap": "3"}),
        ({"republish_after": "10", "queue_ttl": "10"}, {"republish_after": "9", "queue_ttl": "10"}),
        (
            {"max_url_bytes": "9000", "max_header_bytes": "8999"},
            {"max_url_bytes": "9", "max_header_bytes": "9"},
        ),
        (
            {"max_body_bytes": "20", "max_body_memory": "19"},
            {"max_body_bytes": "20", "max_body_memory": "20"},
        ),
        ({"max_address_connections": "2", "max_connections": "1"}, {"max_address_connections": "2"}),
        (
            {"lock_timeout": "31", "statement_timeout": "30"},
            {"lock_timeout": "30", "statement_timeout": "30"},
        ),
        ({"model_max_tokens": "8", "model_window": "8"}, {"model_max_tokens": "7", "model_window": "8"}),
        (
            {"structure_uids": "9", "concurrency": "10", "structure_sandbox": "user", "structures_dir": "/s"},
            {"structure_uids": "9", "concurrency": "10", "structure_sandbox": "user"},
        ),
    ],
)
def test_a_contradiction_names_all_settings_it_is_about(wrong, right):
    (sentence,) = found(**wrong)
    names = [name for name in wrong if name not in {"structure_sandbox", "structures_dir"}]
    for name in names:
        assert f"RUNYARD_{name.upper()} ({float(wrong[name]):g}" in sentence
    assert sentence.endswith(".")
    assert found(**right) == []


def test_several_contradictions_are_all_found():
    assert len(found(heartbeat="30", lock_timeout="60")) == 2
