"""Domain errors on their way out."""

import json
from http import HTTPStatus

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from api.errors import Fault, Problem, of_database, of_domain, status_of
from api.griptape.errors import ErrorBody, documented, render
from shared import errors
from shared.errors import OrganizationNotFoundError, RunyardError


def tree(error=RunyardError):
    return [error, *(below for base in error.__subclasses__() for below in tree(base))]


def test_every_error_of_the_tree_has_a_status():
    unknown = [error for error in tree() if error.__module__ == errors.__name__ and error is not RunyardError]
    assert unknown
    for error in unknown:
        assert status_of(error.__new__(error)) != HTTPStatus.INTERNAL_SERVER_ERROR, error


def test_a_subclass_follows_its_base():
    assert status_of(OrganizationNotFoundError()) == HTTPStatus.NOT_FOUND


def test_an_error_that_the_table_does_not_know_tells_nothing():
    problem = of_domain(RunyardError("secret"))
    assert problem.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret" not in repr(problem)


def test_a_problem_has_the_dialects_shape():
    faults = [Fault("a", "b"), Fault("c", "d", ("body", "args", 0))]
    answer = render(Problem(HTTPStatus.BAD_REQUEST, faults, {"X-A": "1"}))
    assert (answer.status_code, answer.headers["x-a"]) == (400, "1")
    assert json.loads(answer.body) == {
        "type": "BadRequest",
        "errors": [{"type": "a", "message": "b"}, {"type": "c", "message": "d", "path": "body.args.0"}],
    }
    ErrorBody.model_validate_json(answer.body)


@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 413, 500, 503])
def test_every_status_has_a_name(status):
    body = json.loads(render(Problem(HTTPStatus(status), [])).body)
    assert body["type"].isalpha()
    assert body["type"][0].isupper()


def test_what_is_documented_names_no_422():
    assert set(documented(HTTPStatus.NOT_FOUND)) == {401, 404, 503, "default"}


@pytest.mark.parametrize("kind", [psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn])
def test_a_database_that_was_not_migrated_is_a_503_that_says_so(kind):
    problem = of_database(DBAPIError.instance("SELECT 1", {}, kind("no runs"), psycopg.Error))
    assert problem.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert "migrated" in problem.faults[0].message
    assert "Retry-After" in problem.headers
