"""Bodies as JSON."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.requests.json_body import MAX_DEPTH, read_json
from shared.errors import InvalidRequestError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read(value):
    assert read_json(orjson.dumps(value)) == value


@given(st.binary())
def test_any_bytes_are_json_or_refused(body):
    with suppress(InvalidRequestError):
        read_json(body)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 1000, 100_000])
def test_depth_has_a_limit(depth):
    body = b"[" * depth + b"]" * depth
    if depth <= MAX_DEPTH:
        read_json(body)
    else:
        with pytest.raises(InvalidRequestError):
            read_json(body)


def test_width_has_none():
    assert len(read_json(b"[" + b"[]," * 1000 + b"{}]")) == 1001


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (rb'"\u0000"', ("body",)),
        (rb'{"a": [1, "x\u0000"]}', ("body", "a", 1)),
        (rb'{"a": {"b\u0000c": 1}}', ("body", "a", "b\x00c")),
    ],
)
def test_a_nul_is_found_where_it_is(body, path):
    with pytest.raises(InvalidRequestError) as refusal:
        read_json(body)
    assert refusal.value.path == path


def test_what_only_looks_like_a_nul_is_none():
    assert read_json(rb'"\\u0000"') == r"\u0000"


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, 2**64 - 1, -(2**63)])
def test_an_integer_of_64_bits_is_kept(number):
    assert read_json(f'{{"a": [{number}], "b": "{10**30}", "c": 1e300}}'.encode())["a"] == [number]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**25, -(10**200)])
@pytest.mark.parametrize(
    ("body", "path"),
    [("{}", ("body",)), ('{{"a": [1, {{"b": {}}}]}}', ("body", "a", 1, "b")), ("[2, {}]", ("body", 1))],
)
def test_a_larger_one_is_refused_where_it_is(number, body, path):
    with pytest.raises(InvalidRequestError) as refused:
        read_json(body.format(number).encode())
    assert refused.value.path == path
