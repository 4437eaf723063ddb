"""Which keys of a request mean nothing: found wherever they are, named briefly, at a bounded cost."""

import string
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel
from starlette.datastructures import Headers, QueryParams

from api.griptape.structure_run_schemas import ReportsBody
from api.griptape.structure_schemas import StructureCreate, StructureView
from api.requests.known_keys import (
    MAX_NAME,
    MORE,
    MOST,
    UNSERVED,
    Ignored,
    KnownKeys,
    ObjectShape,
    Shape,
    Unknown,
    prefers_strictness,
    shape_of,
    unread_body,
)


class Leaf(BaseModel):
    text: str = ""


class Rooted(RootModel[dict[str, Leaf | None]]):
    pass


class Tree(BaseModel):
    leaf: Leaf | None = None
    leaves: list[Leaf] | str = ""
    by_name: dict[str, Leaf] | None = None
    rooted: Rooted | None = None
    anything: dict[str, object] | None = None
    kept: Annotated[list[int] | None, UNSERVED] = None


def ignored(annotation, value):
    found = Ignored()
    found.add(shape_of(annotation).unknown(value, ("body",)))
    return found


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"lef": 1, "other": 2}, ["lef", "other"]),
        ({"leaf": {"text": "", "colour": 1}}, ["leaf.colour"]),
        ({"leaves": [{"text": ""}, {"a": 1}, {"a": 2, "b": 3}]}, ["leaves[].a", "leaves[].b"]),
        ({"by_name": {"x": {"a": 1}}}, ["by_name.x.a"]),
        ({"rooted": {"x": None, "y": {"a": 1}}}, ["rooted.y.a"]),
        ({"anything": {"x": {"a": 1}}, "leaves": "text"}, []),
        ({"kept": [1]}, ["kept"]),
        ({"kept": []}, []),
        ({"leaf": "no object", "leaves": {"a": 1}}, []),
        ("no object at all", []),
        (None, []),
    ],
)
def test_unknown_keys_are_found_at_any_depth(value, names):
    assert ignored(Tree, value).names == names


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"events": [{"type": "x", "typ": 1}], "more": 1}, ["more", "events[].typ"]),
        ([{"type": "x", "timestamp": 1, "typ": 1}], ["[].typ"]),
        ({"type": "x", "timestamp": 1, "typ": 1}, ["typ"]),
    ],
    ids=["batch", "list", "one"],
)
def test_of_several_forms_of_a_body_the_one_that_was_sent_is_looked_at(value, names):
    assert ignored(ReportsBody, value).names == names


def test_many_unknown_keys_are_neither_all_told_nor_all_looked_at():
    sent = iter(range(10**9))  # looked at one by one, this would take minutes
    found = Ignored()
    found.add(Unknown(("body", f"key {number}")) for number in sent)
    assert len(found.names) == MOST + 1
    assert found.names[-1] == MORE
    assert next(sent) < 2 * MOST


def test_the_same_unknown_key_in_many_items_ends_the_search():
    class Many(list):
        seen = 0

        def __iter__(self):
            for item in super().__iter__():
                self.seen += 1
                yield item

    many = Many([{"a": 1}] * 100_000)
    assert ignored(list[Leaf], many).names == ["[].a", MORE]
    assert many.seen < 2_000


@given(st.text(max_size=300, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_name_is_printable_and_short_whatever_was_sent(key):
    name = Unknown(("body", "list", 0, key)).name
    assert len(name) <= MAX_NAME
    assert set(name) <= set(string.ascii_letters + string.digits + string.punctuation) - {","}


def test_an_api_key_in_the_place_of_a_name_is_not_told():
    assert Unknown(("query", "ry_secret")).name == "?ry_..."
    assert "ry_secret" not in Unknown(("body", "a", "x-ry_secret")).name


def test_a_name_that_would_add_a_header_is_encoded():
    assert Unknown(("body", "a\r\nSet-Cookie: b")).name == "a%0D%0ASet-Cookie:%20b"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], False),
        (["handling=strict"], True),
        (['Handling="strict"'], True),
        (["respond-async, handling = strict; x=1"], True),
        (["wait=10", "handling=strict"], True),
        (["handling=lenient, handling=strict"], False),
        (["handling"], False),
        (["strict"], False),
    ],
)
def test_a_preference_is_read_as_the_rfc_writes_it(lines, expected):
    assert prefers_strictness(Headers(raw=[(b"prefer", line.encode()) for line in lines])) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"content-length": "0"}, False),
        ({"content-length": "2"}, False),
        ({"content-length": "15"}, True),
        ({"content-length": "x"}, False),
        ({"transfer-encoding": "chunked"}, True),
    ],
)
def test_a_body_where_none_is_read_is_told_unless_it_is_empty(headers, expected):
    assert bool(list(unread_body(Headers(headers)))) is expected


CAREFUL = shape_of(StructureCreate).objects[0]


@pytest.mark.parametrize(
    "key", ["cdoe", "Code", "codes", "folder", "callable", "default", "github", "env_var"]
)
def test_a_near_miss_of_a_structure_is_told_from_any_other_key(key):
    assert Unknown(("body", key), CAREFUL).is_near_miss


def test_what_a_structure_shows_can_be_sent_back():
    shown = {"structure_id", *StructureView.model_fields} - CAREFUL.fields.keys()
    assert shown
    assert not [key for key in shown if Unknown(("body", key), CAREFUL).is_near_miss]


def test_the_nearest_key_is_one_that_is_there_or_belongs_further_down():
    known = ObjectShape({"input": Shape()}, frozenset(), is_careful=False, below={"folder": "code.folder"})
    assert known.nearest("imput") == "input"
    assert known.nearest("folder") == "code.folder"
    assert known.nearest("xyz") is None


def test_parameters_of_a_query_are_known_also_by_a_key_in_brackets():
    names = ObjectShape({"metadata": Shape(), "page": Shape()}, frozenset(), is_careful=False, below={})
    keys = KnownKeys(names, Shape())
    found = Ignored()
    found.add(keys.unknown_in_query(QueryParams("metadata[a]=1&metadata=b:c&page=1&page[x]=1&colour=red")))
    assert found.names == ["?page[x]", "?colour"]
