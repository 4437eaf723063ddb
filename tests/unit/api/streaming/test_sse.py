"""Frames of an event stream."""

import json

from hypothesis import given
from hypothesis import strategies as st

from api.streaming.sse import frame


def test_a_frame_has_a_number_and_one_line_of_data():
    assert frame(7, b'{"a":1}') == b'id: 7\ndata: {"a":1}\n\n'


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_survives_clients_that_split_at_any_line_end(text):
    """`str.splitlines` knows more of them than the standard does."""
    data = json.dumps({"token": text}, ensure_ascii=False).encode()
    lines = frame(0, data).decode().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[1].removeprefix("data: ")) == {"token": text}
