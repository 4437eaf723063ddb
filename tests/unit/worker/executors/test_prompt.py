"""What a run asks its model."""

import time

import pytest

from worker.executors import prompt
from worker.executors.prompt import PromptError, compose_prompt


@pytest.mark.parametrize(
    ("instruction", "args", "expected"),
    [
        (None, ["What is it?"], "What is it?"),
        ("", ["What is it?"], "What is it?"),
        (None, ["first", "second"], "first"),
        ("What is it?", [], "What is it?"),
        ("{{ args[0] }} stays", [], "{{ args[0] }} stays"),
        (None, ["{{ args }}"], "{{ args }}"),
    ],
)
def test_args_or_input_alone_are_the_prompt_as_they_are(instruction, args, expected) -> None:
    assert compose_prompt(instruction, args) == expected


@pytest.mark.parametrize(
    ("instruction", "args"), [(None, []), ("", []), (" \n", []), (None, [""]), ("", ["", "x"])]
)
def test_nothing_to_ask_is_refused(instruction, args) -> None:
    with pytest.raises(PromptError, match="nothing to ask"):
        compose_prompt(instruction, args)


@pytest.mark.parametrize(
    ("instruction", "args", "expected"),
    [
        ("Translate {{ args[0] }} to {{ args[1] }}.\n", ["cat", "French"], "Translate cat to French.\n"),
        ("Sum up: {{ args | join(', ') }}", ["a", "b"], "Sum up: a, b"),
        ("{% for arg in args %}{{ loop.index }}. {{ arg }}\n{% endfor %}", ["a", "b"], "1. a\n2. b\n"),
        ("{% if args[1] %}{{ args[1] }}{% else %}{{ args[0] | upper }}{% endif %}", ["a"], "A"),
        ("{{ args[1:] | last | default('none', true) }}", ["a", "b"], "b"),
        ("{{ args[0] }}", ["{{ args[0] }} <b>"], "{{ args[0] }} <b>"),
        ("{{ args[3] }} is left out", ["a"], " is left out"),
    ],
)
def test_an_instruction_that_refers_to_args_is_a_template(instruction, args, expected) -> None:
    assert compose_prompt(instruction, args) == expected


@pytest.mark.parametrize(
    "instruction",
    [
        "Translate to French:",
        "Explain {{ name }} in Jinja.",
        "Explain {% this %} {{ args[0] }",
        "{{ args[0] }} {% endfor %}",
        "{{ args | nonsense }}",
        "{{ args | sort(reverse=1, nonsense=2) }}",
        "{{ args[0] }}" + "x" * prompt.MAX_TEMPLATE,
    ],
)
def test_args_follow_an_instruction_that_is_no_template_for_them(instruction) -> None:
    assert compose_prompt(instruction, ["one", "", "two"]) == f"{instruction}\none\ntwo"


@pytest.mark.parametrize(
    "instruction",
    [
        "{{ args.__class__ }}",
        "{{ args[0].format(args) }}",
        "{{ args.append('x') }}",
        "{{ args[0] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 ** args | length }}",
        "{{ '%999999999d' % (args | length) }}",
        "{{ args[0] ~ args[0] }}",
        "{% set a = args %}{{ a }}",
        "{% macro m() %}{{ args }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include args[0] %}",
        "{% import args[0] as a %}",
        "{{ args[0] | center(999999999) }}",
        "{{ args[0] | replace('', args[0]) }}",
        "{{ args | tojson | tojson }}",
        "{{ range(999999999) | join(args[0]) }}",
        "{{ cycler(args) }}{{ lipsum(n=999999) }}",
        "{% for a in args %}{% for b in args %}{% endfor %}{% endfor %}",
        "{{ " + "(" * 5_000 + "args" + ")" * 5_000 + " }}",
        "{{ " + "not " * 5_000 + "args }}",
        "{% if args %}" * 200 + "{% endif %}" * 200,
    ],
)
def test_what_could_do_harm_stays_text(instruction) -> None:
    begun = time.process_time()

    assert compose_prompt(instruction, ["os"]) == f"{instruction}\nos"
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "instruction",
    [
        "{{ args[0] }}" * 100,
        "{{ args | join(args[0]) }}",
        "{% for arg in args %}{{ args[0] }}{% endfor %}",
        "{{ args[0] | sort | join(args[0]) }}",
    ],
)
def test_a_template_that_grows_beyond_all_bounds_is_refused(instruction) -> None:
    with pytest.raises(PromptError, match="exceeds"):
        compose_prompt(instruction, ["x" * 100_000, *("y" * 100)])
