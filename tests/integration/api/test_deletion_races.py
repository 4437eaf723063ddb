"""What is deleted while somebody refers to it."""

from collections.abc import Callable, Generator

import pytest
from sqlalchemy import event, text
from starlette.testclient import TestClient

from shared.db import Sessions


@pytest.fixture
def before_the_run_is_inserted(sessions: Sessions) -> Generator[Callable[[str], None]]:
    """Have SQL executed when a run is about to be inserted, as another caller might just then."""
    bind, waiting = sessions.kw["bind"], []

    def intervene(connection, _cursor, sql, *_):
        if waiting and sql.startswith("INSERT INTO runs "):
            connection.execute(text(waiting.pop()))

    event.listen(bind, "before_cursor_execute", intervene)
    yield waiting.append
    event.remove(bind, "before_cursor_execute", intervene)
    assert waiting == [], "no run was inserted"


def test_a_run_of_an_organization_that_is_being_deleted_is_a_409(
    client: TestClient, make_assistant, before_the_run_is_inserted
):
    assistant = make_assistant()
    before_the_run_is_inserted(f"DELETE FROM assistants WHERE id = '{assistant.id}'")
    answer = client.post(f"/api/assistants/{assistant.id}/runs", json={"args": ["Hi"]})
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["type"] == "Conflict"
