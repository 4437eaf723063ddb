"""Thoughts that stand in the text of an answer."""

import pytest

from worker.executors.griptape.providers.inline_thoughts import InlineThoughts


def read(*pieces: str) -> tuple[str, str]:
    """The thoughts and the text of an answer in pieces."""
    inline = InlineThoughts()
    found = [each for piece in pieces for each in inline.feed(piece)] + list(inline.rest())
    thoughts = "".join(text for is_thought, text in found if is_thought)
    return thoughts, "".join(text for is_thought, text in found if not is_thought)


@pytest.mark.parametrize(
    ("text", "thoughts", "answer"),
    [
        ("<think>Hm</think>Hi there", "Hm", "Hi there"),
        ("\n <think>\nHm\n</think>\n\nHi there", "\nHm\n", "Hi there"),
        ("<think>\n\n</think>\n\nHi", "\n\n", "Hi"),
        ("<think></think>Hi", "", "Hi"),
        ("<think>a < b </thin </think>Hi", "a < b </thin ", "Hi"),
        ("<think>a</think>\n<think>b</think> Hi", "ab", "Hi"),
        ("</think>\n\nHi", "", "Hi"),
        ("[THINK]Hm[/THINK]Hi", "Hm", "Hi"),
        ("◁think▷Hm◁/think▷Hi", "Hm", "Hi"),
        ("<seed:think>Hm</seed:think>Hi", "Hm", "Hi"),
        ("<|channel|>analysis<|message|>Hm<|start|>assistant<|channel|>final<|message|>Hi", "Hm", "Hi"),
        ("<think>Hm", "Hm", ""),
        ("<think>Hm</thi", "Hm</thi", ""),
        ("Use <think>x</think> for it", "", "Use <think>x</think> for it"),
        ("<think>Hm</think>Use <think>x</think>", "Hm", "Use <think>x</think>"),
        ("<thinking>Hm</thinking> Hi", "", "<thinking>Hm</thinking> Hi"),
        ("<thin air>", "", "<thin air>"),
        ("  <b>Hi</b>", "", "  <b>Hi</b>"),
        ("<", "", "<"),
        (" \n", "", " \n"),
        ("", "", ""),
    ],
)
def test_only_tags_at_the_beginning_hold_thoughts_however_the_text_is_cut(text, thoughts, answer) -> None:
    assert read(text) == (thoughts, answer)
    assert read(*text) == (thoughts, answer)
    for size in range(2, 12):
        assert read(*(text[at : at + size] for at in range(0, len(text), size))) == (thoughts, answer)


def test_text_is_not_kept_back_longer_than_a_tag_may_be() -> None:
    inline = InlineThoughts()

    assert list(inline.feed("<thi")) == []
    assert list(inline.feed("s>")) == [(False, "<this>")]
    assert list(inline.feed("<think>")) == [(False, "<think>")]


def test_endless_space_is_not_kept_for_ever() -> None:
    inline = InlineThoughts()

    given = "".join(text for _ in range(3_000) for _, text in inline.feed(" "))

    assert len(given) >= 2_000
