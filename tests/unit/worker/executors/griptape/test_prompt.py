"""What a run asks its model."""

import time

import pytest

from worker.executors.griptape import prompt
from worker.executors.griptape.prompt import PromptError, compose_prompt


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
        ("{% for arg in args[5] %}{{ arg }}{% else %}none{% endfor %}", ["a"], "none"),
        (
            "{% for a in args|reverse %}{{ a }}{% if not loop.last %}, {% endif %}{% endfor %}",
            ["a", "b"],
            "b, a",
        ),
        (
            "{% for a in args if a %}{{ loop.index }}/{{ loop.length }}{{ a }} {% endfor %}",
            ["", "b"],
            "1/1b ",
        ),
        (
            "{% for a in args|sort|unique %}{% if loop.index is odd %}{{ a }}{% endif %}{% endfor %}",
            "cbba",
            "ac",
        ),
        (
            "{{ args[0]|trim('x') }}{% if args[1] == 'b' and args[9] is undefined %}!{% endif %}",
            ["xax", "b"],
            "a!",
        ),
        ("{{ args | sort(reverse=true) | first }}{{ args | length }}", ["a", "b"], "b2"),
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
        "{% if '%999999999d' is odd %}{{ args }}{% endif %}",
        "{% if '%999999999d' is divisibleby(args[0]) %}{% endif %}",
        "{% for a in args recursive %}{{ args }}{% endfor %}",
        "{{ args | sort(attribute='0.0.0.0') }}",
        "{{ args | unique(false, '0') }}",
        "{{ args | sort | _step }}",
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
    with pytest.raises(PromptError, match=r"exceeds|computes for more than"):  # whichever comes first
        compose_prompt(instruction, ["x" * 100_000, *("y" * 100)])


LONG = "x" * 900_000
MANY = ["x"] * 250_000


@pytest.mark.parametrize(
    ("instruction", "args"),
    [
        ("{% for c in args[0] %}{% if args[0]|sort|first|upper|reverse %}{% endif %}{% endfor %}", [LONG]),
        ("{% for a in args %}{% if args[0]|upper|lower|title %}{% endif %}{% endfor %}", [LONG] * 1_000),
        ("{% for a in args %}{% endfor %}" * 100, MANY),
        ("{% for a in args if not a %}{% endfor %}" * 100, MANY),
        ("{% for a in args %}{% if 'y' in args %}{% endif %}{% endfor %}", MANY[:50_000]),
        ("{% if 'y' in args %}{% endif %}" * 1_000, MANY),
        ("{% if args[0] is in args[1:] %}{% endif %}" * 700, ["y", *MANY]),
        ("{{ args[0]|sort|first }}", [LONG]),
        ("{% if args|sort|unique|first %}{% endif %}" * 500, MANY),
        ("{% if args|join|length %}{% endif %}" * 800, MANY),
        ("{% if args[0]|trim(args[1]) %}{% endif %}", [LONG, LONG]),
        ("{% if args|lower|length %}{% endif %}" * 900, MANY),
        ("{{ args }}" * 6_000, []),
        ("{% if args[0] %}{% endif %}" * 2_300, ["x"]),
    ],
)
def test_a_template_that_computes_beyond_its_bounds_is_refused_in_time(
    instruction, args, monkeypatch
) -> None:
    monkeypatch.setattr(prompt, "MAX_SECONDS", 0.05)
    begun = time.process_time()

    with pytest.raises(PromptError, match="template"):
        compose_prompt(instruction, args or ["x"])
    assert time.process_time() - begun < 5


def test_turns_of_loops_are_bounded_however_fast_they_are(monkeypatch) -> None:
    monkeypatch.setattr(prompt, "MAX_SECONDS", 3_600)

    with pytest.raises(PromptError, match="more than 100000 turns"):
        compose_prompt("{% for a in args %}{% endfor %}", MANY)


def test_a_busy_machine_takes_nothing_from_the_time_of_a_template(monkeypatch) -> None:
    hours = iter(range(0, 3_600_000, 3_600))
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    monkeypatch.setattr(time, "time", lambda: next(hours))

    assert compose_prompt("{% for a in args %}{{ a }}{% endfor %}", ["a"] * 900) == "a" * 900
