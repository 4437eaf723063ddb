"""Paths as they were meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.middleware import normal_path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/api/assistants", "/api/assistants"),
        ("//api//assistants", "/api/assistants"),
        ("/api/api/assistants", "/api/assistants"),
        ("/api/api/api/assistants", "/api/assistants"),
        ("//api//api//assistants///", "/api/assistants"),
        ("/api/assistants/", "/api/assistants"),
        ("/api/assistants/api/api/x", "/api/assistants/api/api/x"),
        ("/apiary/api/x", "/apiary/api/x"),
        ("/api/apiary", "/api/apiary"),
        ("/api/api", "/api"),
        ("/api/api/", "/api"),
        ("/", "/"),
        ("///", "/"),
        ("", "/"),
    ],
)
def test_slashes_and_a_second_api_are_dropped(path, normal):
    assert normal_path(path) == normal


@given(st.lists(st.sampled_from(["/", "api", "a", "\x00", "é"])).map("".join))
def test_a_normal_path_stays_as_it_is(path):
    assert normal_path(normal_path(path)) == normal_path(path)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/tools/runyard/api/assistants", "/api/assistants"),
        ("//tools//runyard//api/assistants/", "/api/assistants"),
        ("/tools/runyard/api/api/assistants", "/api/assistants"),
        ("/api/assistants", "/api/assistants"),
        ("/tools/runyard", "/"),
        ("/tools/runyard/", "/"),
        ("/tools/runyards/api", "/tools/runyards/api"),
        ("/tools/runyard/tools/runyard", "/tools/runyard"),
    ],
)
def test_a_root_path_goes_once_if_it_is_there(path, normal):
    assert normal_path(path, root_path="/tools/runyard") == normal
