"""JSON as providers write it, in pieces."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.executors.griptape.json_text import JsonEnd

TEXTS = st.text(alphabet='ab"\\\\{}[]\u00e9 ', max_size=8)
VALUES = st.recursive(
    TEXTS | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=6
)
WHOLE = st.one_of(TEXTS, st.lists(VALUES), st.dictionaries(TEXTS, VALUES)).map(json.dumps)


def ends(*pieces):
    end = JsonEnd()
    for piece in pieces:
        end.feed(piece)
    return end.is_reached


def can_be_read(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@settings(max_examples=30)
@given(WHOLE)
def test_a_text_ends_where_it_can_be_read_and_not_before(text):
    end = JsonEnd()
    for length, piece in enumerate(text, 1):
        end.feed(piece)
        assert end.is_reached == can_be_read(text[:length])


@settings(max_examples=30)
@given(WHOLE, st.data())
def test_it_does_not_matter_where_the_pieces_end(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert ends(*pieces)
    assert ends(*pieces, " ", "\n")
    assert not ends(*pieces, " ", "x")


@pytest.mark.parametrize(
    "text", ["", " ", "{", '"', '"\\', '{"a": "}"', "null", "5", "{} {}", "[] x", '"" ""']
)
def test_what_is_not_closed_or_goes_on_has_no_end(text):
    assert not ends(text)
    assert not ends(*text)
