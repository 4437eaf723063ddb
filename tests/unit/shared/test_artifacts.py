"""Artifacts as messages hold them."""

import pytest

from shared.artifacts import decode_text


@pytest.mark.parametrize("depth", [250, 300, 900, 990, 1020, 100_000])
def test_a_value_that_is_nested_however_deeply_is_a_text(depth):
    value = "[" * depth + "]" * depth
    message = f'{{"type": "TextArtifact", "value": {value}}}'
    assert decode_text(message) in {value, message}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('{"type": "TextArtifact", "value": "So it goes"}', "So it goes"),
        ('{"type": "ListArtifact", "value": [1, "two"]}', '[1, "two"]'),
        ('{"type": "TextArtifact"}', '{"type": "TextArtifact"}'),
        ('{"type": "TextArtifact", "value": "\\ud800"}', '{"type": "TextArtifact", "value": "\\ud800"}'),
        ("So it goes", "So it goes"),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_a_message_holds_an_artifact_or_a_plain_text(message, text):
    assert decode_text(message) == text
