"""A path, origins and networks, as operators write them."""

import pytest

from shared.addresses.web import parse_network, parse_origin, parse_root_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ""),
        ("/", ""),
        ("/runyard", "/runyard"),
        ("runyard/", "/runyard"),
        ("//tools//runyard", "/tools/runyard"),
        ("/api/runyard", "/api/runyard"),
        ("/apiary", "/apiary"),
        ("/v1.2", "/v1.2"),
    ],
)
def test_a_root_path_is_read_however_its_slashes_are(text, path):
    assert parse_root_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        *("/api", "/api/", "/api/v1", "/v1", "/v1/orchestrate", "/health", "/docs"),
        *("/a b", "/../x", "/.", "/ä", "https://example.com/runyard", "/a?b", '/"><script>'),
    ],
)
def test_a_root_path_that_is_none_or_cannot_be_told_from_our_own_is_refused(text):
    with pytest.raises(ValueError, match=r"must be a path|begins like"):
        parse_root_path(text)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_read_as_a_browser_sends_it(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "app.example.com", "https://*.example.com", "https://a@example.com", "https://"),
        *("https://example.com/path", "https://example.com?x", "https://example.com:port", "https://ä.de"),
        "ftp://example.com",
    ],
)
def test_what_is_not_one_exact_origin_is_refused(text):
    with pytest.raises(ValueError, match=r"exact origins such as https://app\.example\.com"):
        parse_origin(text)


def test_an_address_is_a_network_of_one():
    assert str(parse_network("10.0.0.7")) == "10.0.0.7/32"
    assert str(parse_network("fd00::/8")) == "fd00::/8"
    for text in ("proxy", "10.0.0.1/8", "10.0.0.1:80", "*"):
        with pytest.raises(ValueError, match="addresses or networks"):
            parse_network(text)
