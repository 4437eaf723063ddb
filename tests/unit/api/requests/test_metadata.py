"""Metadata in queries: a fault names the parameter it is about."""

import pytest
from fastapi.exceptions import RequestValidationError

from api.requests.metadata import LONGEST_VALUE, MOST, in_query


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ([("metadata[]", "1")], "metadata[]"),
        ([("metadata[", "1")], "metadata[]"),
        ([("metadata", ":1")], "metadata[]"),
        ([("metadata[a]", "x" * (LONGEST_VALUE + 1))], "metadata[a]"),
        ([("metadata[\x07]", "1")], "metadata[\x07]"),
        ([("metadata", '{"a": 5}')], "metadata[a]"),
        ([(f"metadata[{number}]", "1") for number in range(MOST + 1)], "metadata"),
        ([("metadata", "nonsense")], "metadata"),
    ],
)
def test_a_fault_names_its_parameter(parameters, place):
    with pytest.raises(RequestValidationError) as raised:
        in_query(parameters)
    assert {fault["loc"] for fault in raised.value.errors()} == {("query", place)}
