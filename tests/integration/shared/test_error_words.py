"""What an error of PostgreSQL says, in a log line or a traceback, quotes no row and no parameter."""

import traceback

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import constraint_of, make_engine, sqlstate_of, words_of

PLANTED = "planted-words-of-a-user"

STATEMENTS = {
    "23505": ("INSERT INTO pg_temp.planted VALUES (:said, 1), (:said, 2)", "duplicate key value violates"),
    "23502": ("INSERT INTO pg_temp.planted VALUES (:said, NULL)", "null value in column"),
    "22P02": ("SELECT CAST(:said AS jsonb)", "SQLSTATE 22P02"),
    "22007": ("SELECT CAST(:said AS timestamptz)", "SQLSTATE 22007"),
}


@pytest.mark.parametrize(("state", "statement", "words"), [(k, *v) for k, v in STATEMENTS.items()])
def test_it_says_what_is_wrong_without_the_value(settings, state, statement, words):
    engine = make_engine(settings, pool_size=1)
    try:
        with engine.connect() as connection:
            connection.execute(text("CREATE TEMPORARY TABLE planted (name text PRIMARY KEY, n int NOT NULL)"))
            with pytest.raises(DBAPIError) as raised:
                connection.execute(text(statement), {"said": PLANTED})
    finally:
        engine.dispose()
    error = raised.value
    assert sqlstate_of(error) == state
    assert words_of(error).startswith(words)
    assert constraint_of(error) == ("planted_pkey" if state == "23505" else None)
    for told in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert words in told
        assert PLANTED not in told
