"""A row that somebody holds: writers wait for it, and not for ever."""

from tests.integration.api.serving import api_process


def test_a_writer_that_waits_too_long_for_a_row_is_told_so(committed_settings, secret, held_run):
    report = {"type": "x", "timestamp": 1, "payload": {}}
    with api_process(committed_settings, secret=secret, LOCK_TIMEOUT="2") as process:
        answer = process.client.post(f"/api/structure-runs/{held_run.id}/events", json=report)
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (503, "Contended")
    assert answer.headers["Retry-After"]
