"""What a run asks its model: the prompt, made of its arguments and its input."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from jinja2 import TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE: Final = 64 * 1024  # characters; a longer instruction is plain text
MAX_PROMPT: Final = 2 * 1024 * 1024  # characters that a template may grow to

_ALLOWED_NODES: Final = (
    nodes.And | nodes.Compare | nodes.CondExpr | nodes.Const | nodes.Filter | nodes.For | nodes.Getattr
    | nodes.Getitem | nodes.If | nodes.Keyword | nodes.Name | nodes.Not | nodes.Operand | nodes.Or
    | nodes.Output | nodes.Slice | nodes.Template | nodes.TemplateData | nodes.Test
)  # fmt: skip
"""References, branches, loops and filters. No calls, no arithmetic, no assignments: with those, a few
characters could fill the memory of the worker."""

_BROKEN: Final = (
    TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    SyntaxError,
    MemoryError,
)
"""What a stranger's template may break on."""


class PromptError(Exception):
    """The run has no prompt, or one that is beyond all bounds."""


def compose_prompt(instruction: str | None, args: Sequence[str]) -> str:
    """Make the prompt.

    Without an instruction the first argument is the prompt; any others are for templates and not
    used. With both, the instruction is a Jinja template for its `args`; if it does not refer to
    them, or is no template that is understood here, the arguments follow it on lines of their own.

    Args:
        instruction: the run's input, or else its assistant's.
        args: the run's arguments.

    Raises:
        PromptError: there is nothing to ask, or too much.
    """
    instruction = instruction or ""
    prompt = args[0] if args else instruction
    if instruction.strip() and args:
        prompt = _fill_in(instruction, args)
    if not prompt.strip():
        raise PromptError(
            "There is nothing to ask: the run has no arguments and no input, and its assistant has no input."
        )
    return prompt


def _fill_in(instruction: str, args: Sequence[str]) -> str:
    try:
        if len(instruction) <= MAX_TEMPLATE and _is_template(_ENVIRONMENT.parse(instruction)):
            return _bounded(_ENVIRONMENT.from_string(instruction).generate(args=list(args)))
    except _BROKEN:
        pass  # it only looked like a template
    return "\n".join([instruction, *(arg for arg in args if arg)])


def _is_template(template: nodes.Template) -> bool:
    """Whether it refers to `args`, and holds nothing but what is allowed."""
    found = list(template.find_all(nodes.Node))
    return (
        any(isinstance(node, nodes.Name) and node.name == "args" for node in found)
        and all(_is_allowed(node) for node in found)
        and not any(loop.find(nodes.For) for loop in template.find_all(nodes.For))
    )


def _is_allowed(node: nodes.Node) -> bool:
    match node:
        case nodes.Getattr():
            return isinstance(node.node, nodes.Name) and node.node.name == "loop"
        case nodes.Filter():
            return node.name in _FILTERS
        case _:
            return isinstance(node, _ALLOWED_NODES)


def _bounded(pieces: Iterable[str]) -> str:
    taken: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_PROMPT:
            raise PromptError(f"The input, with its arguments filled in, exceeds {MAX_PROMPT} characters.")
        taken.append(piece)
    return "".join(taken)


def _join(values: Iterable[Any], separator: Any = "") -> str:
    """Join within bounds: the separator may be an argument, too."""
    texts = [str(value) for value in values]
    return _bounded(piece for text in texts for piece in (str(separator), text))[len(str(separator)) :]


_FILTERS: Final = frozenset(
    {
        "capitalize",
        "count",
        "default",
        "first",
        "join",
        "last",
        "length",
        "lower",
        "reverse",
        "sort",
        "title",
        "trim",
        "unique",
        "upper",
    }
)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _FILTERS} | {"join": _join}
    return environment


_ENVIRONMENT: Final = _environment()
