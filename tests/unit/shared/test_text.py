"""What of a model's words can be stored."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.text import storable


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\ufffdb"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ({"k\x00": ["\udc00", {"n": 1}]}, {"k\ufffd": ["\ufffd", {"n": 1}]}),
        ((1, None, True), [1, None, True]),
        (2**70, str(2**70)),
        (-(2**63), -(2**63)),
    ],
)
def test_what_cannot_be_stored_is_replaced(said, stored):
    assert orjson.dumps(storable(said)) == orjson.dumps(stored)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner),
    max_leaves=8,
)


@given(JSON)
def test_whatever_was_said_can_be_encoded(value):
    encoded = orjson.dumps(storable(value))
    assert b"\\u0000" not in encoded
