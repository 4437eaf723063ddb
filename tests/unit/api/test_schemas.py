"""Fields and their leniencies."""

from typing import Annotated

import pytest
from annotated_types import Ge, Le
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.griptape.assistant_schemas import AssistantUpdate
from api.griptape.fields import Model, at_most, whole
from api.griptape.pagination import PageQuery, Pagination
from api.griptape.run_schemas import RunCreate
from shared.models import RESOURCE_LISTS

NUMBER = TypeAdapter(Annotated[int, Ge(0), Le(50), at_most(40), whole(default=7)])


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("5.0", 5), ("5.", 5), ("05", 5), ("", 7), ("0", 0), ("45", 40)]
)
def test_a_number_of_a_query(text, number):
    assert NUMBER.validate_python(text) == number


@pytest.mark.parametrize(
    "text", ["-1", "5.5", "x", "1e1", " 5", "+5", "\u0665", "51", "9" * 5000, "0x5", "5_0", "nan"]
)
def test_what_is_no_number_of_a_query(text):
    with pytest.raises(ValidationError):
        NUMBER.validate_python(text)


@given(st.integers(1, 10_000), st.integers(1, 1000), st.integers(0, 100_000))
def test_pages_lead_to_each_other(number, size, total):
    page = Pagination.of(PageQuery(number, size), total=total)
    assert page.total_pages * size >= total > (page.total_pages - 1) * size
    assert page.next_page is None or 1 <= number < page.next_page <= page.total_pages
    assert page.previous_page is None or 1 <= page.previous_page <= page.total_pages
    assert (page.next_page is None) == (number >= page.total_pages)


@given(st.text())
def test_a_model_is_echo_or_names_a_provider(text):
    try:
        TypeAdapter(Model).validate_python(text)
    except ValidationError:
        return
    assert text == "echo" or "/" in text.strip()
    assert len(text) <= 200
    assert text.isprintable()


def test_a_list_that_is_absent_is_not_an_empty_one():
    assert RunCreate.model_validate({}).request().replace == {}
    present = {name: [] for name in RESOURCE_LISTS}
    assert RunCreate.model_validate(present).request().replace == present
    assert RunCreate.model_validate(dict.fromkeys(RESOURCE_LISTS)).request().replace == {}


def test_a_change_holds_only_what_was_said():
    assert AssistantUpdate.model_validate({}).given() == {}
    assert AssistantUpdate.model_validate({"name": None, "tool_ids": None}).given() == {}
    said = {"description": "", "input": "", "tool_ids": []}
    assert AssistantUpdate.model_validate(said).given() == said
    cleared = {"description": None, "input": None, "model": None}
    assert AssistantUpdate.model_validate(cleared).given() == cleared | {"description": ""}
