"""The prompt of a run, made of its input and its arguments."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, cast

from jinja2 import TemplateError, Undefined, nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE: Final = 64 * 1024  # characters; a longer instruction is plain text
MAX_PARTS: Final = 5_000  # of a template, as the compiler counts them
MAX_PROMPT: Final = 2 * 1024 * 1024  # characters that a template may grow to
MAX_SECONDS: Final = 1.0  # of the thread's own computing: a busy machine takes nothing from it
MAX_TURNS: Final = 100_000  # of all loops of a template
MAX_ITEMS: Final = 100_000  # of what a filter goes through one by one, in one step that nothing interrupts
MAX_TRIMMED: Final = 100  # kinds of characters that a filter takes from the ends of a text

_ALLOWED_NODES: Final = (
    nodes.And | nodes.Compare | nodes.CondExpr | nodes.Const | nodes.Filter | nodes.For | nodes.Getattr
    | nodes.Getitem | nodes.If | nodes.Keyword | nodes.Name | nodes.Not | nodes.Operand | nodes.Or
    | nodes.Output | nodes.Slice | nodes.Template | nodes.TemplateData | nodes.Test
)  # fmt: skip
"""References, branches, loops and filters. No calls, no arithmetic, no assignments: with those, a few
characters could fill the memory of the worker."""

_ARITHMETIC_TESTS: Final = frozenset({"divisibleby", "even", "odd"})
"""Tests of numbers alone: of a text they would make a formatted one, `'%9d' is odd` one of 9 characters."""

_TESTS: Final = _ARITHMETIC_TESTS | {
    "boolean", "defined", "eq", "equalto", "false", "float", "ge", "greaterthan", "gt", "in", "integer",
    "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "sameas", "sequence", "string",
    "true", "undefined", "upper",
}  # fmt: skip

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


class _Budget:
    """The budget of one template. Every step whose size a tenant chooses is checked first."""

    def __init__(self) -> None:
        self._end = time.thread_time() + MAX_SECONDS
        self._turns = MAX_TURNS

    def check(self) -> None:
        """Refuse a template that has computed for too long.

        Raises:
            PromptError: it has.
        """
        if time.thread_time() > self._end:
            raise PromptError(f"The input is a template that computes for more than {MAX_SECONDS:g} s.")

    def take_turn(self) -> None:
        """Count a turn of a loop.

        Raises:
            PromptError: it was one too many, or took too long.
        """
        self._turns -= 1
        if self._turns < 0:
            raise PromptError(f"The input is a template whose loops take more than {MAX_TURNS} turns.")
        self.check()


_budget: ContextVar[_Budget] = ContextVar("template budget")


class _Turns(list[Any]):
    """A list that a template loops over; each turn is charged to the budget."""

    def __iter__(self) -> Iterator[Any]:
        budget = _budget.get()
        for item in super().__iter__():
            budget.take_turn()
            yield item


def _fill_in(instruction: str, args: Sequence[str]) -> str:
    spent = _budget.set(_Budget())
    try:
        if len(instruction) <= MAX_TEMPLATE and _is_template(template := _ENVIRONMENT.parse(instruction)):
            _put_to_expense(template)
            return _bounded(_ENVIRONMENT.from_string(template).generate(args=list(args)))
    except _BROKEN:
        pass  # it only looked like a template
    finally:
        _budget.reset(spent)
    return "\n".join([instruction, *(arg for arg in args if arg)])


def _is_template(template: nodes.Template) -> bool:
    """Whether the text is a template: it refers to `args`, and uses nothing but the allowed syntax.

    Raises:
        PromptError: it does, and is larger than is ever of use.
    """
    found = list(template.find_all(nodes.Node))
    is_one = (
        any(isinstance(node, nodes.Name) and node.name == "args" for node in found)
        and all(_is_allowed(node) for node in found)
        and not any(loop.find(nodes.For) for loop in template.find_all(nodes.For))
    )
    if is_one and len(found) > MAX_PARTS:
        raise PromptError(f"The input is a template of more than {MAX_PARTS} parts.")
    return is_one


def _is_allowed(node: nodes.Node) -> bool:
    match node:
        case nodes.Getattr():
            return isinstance(node.node, nodes.Name) and node.node.name == "loop"
        case nodes.Filter():
            return node.name in _FILTERS
        case nodes.Test():
            return node.name in _TESTS
        case nodes.For():
            return not node.recursive  # what it says would gather in memory
        case _:
            return isinstance(node, _ALLOWED_NODES)


def _put_to_expense(template: nodes.Template) -> None:
    """Charge every loop, comparison and slice of a list to the budget, as filters are."""
    for node in list(template.find_all((nodes.Compare, nodes.For, nodes.Getitem, nodes.Test))):
        match node:
            case nodes.Compare():
                node.expr = _at_expense(node.expr, _STEP)
            case nodes.For():
                node.iter = _at_expense(node.iter, _LOOP)
            case nodes.Getitem() | nodes.Test():
                node.node = _at_expense(node.node, _STEP)


def _at_expense(expression: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", expression), name, [], [], None, None, lineno=expression.lineno)


@pass_context  # so that the compiler, too, takes no step in advance
def _step(_: object, value: Any) -> Any:
    _budget.get().check()
    return value


def _loop(value: Any) -> list[Any]:
    """The items of a loop: a list, or nothing for an undefined value."""
    _budget.get().check()
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, list | tuple):
        raise PromptError("The input is a template that loops over something that is no list.")
    return _Turns(value)


def _bounded(pieces: Iterable[str]) -> str:
    taken: list[str] = []
    length = 0
    for piece in pieces:
        _budget.get().check()
        length += len(piece)
        if length > MAX_PROMPT:
            raise PromptError(f"The input, with its arguments filled in, exceeds {MAX_PROMPT} characters.")
        taken.append(piece)
    return "".join(taken)


def _join(values: Iterable[Any], separator: Any = "") -> str:
    """Join within bounds: the separator may be an argument, too."""
    texts = [str(value) for value in values]
    return _bounded(piece for text in texts for piece in (str(separator), text))[len(str(separator)) :]


def _trim(value: Any, chars: str | None = None) -> str:
    """Trim; what characters are taken away is looked up for each, so that they have to be few."""
    if chars is not None and len(chars) > MAX_TRIMMED:
        raise PromptError(f"The input is a template that trims more than {MAX_TRIMMED} kinds of characters.")
    return str(value).strip(chars)


_ITEM_FILTERS: Final = frozenset({"join", "sort", "unique"})
"""Those that go through the items of a list, or the characters of a text."""

_FILTERS: Final = _ITEM_FILTERS | {
    "capitalize", "count", "default", "first", "last", "length", "lower", "reverse", "title", "trim", "upper",
}  # fmt: skip

_TAKES_TEXT: Final = frozenset({"default", "join", "trim"})
"""Filters with a text for a parameter; that of others would be a path into each item."""

_STEP: Final = "_step"
_LOOP: Final = "_loop"


def _at_bounded_cost(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that it refuses arguments whose cost the clock could not interrupt."""
    own_arguments = 1 if hasattr(function, "jinja_pass_arg") else 0
    most = MAX_ITEMS if name in _ITEM_FILTERS else MAX_PROMPT

    @wraps(function)
    def apply(*arguments: Any, **options: Any) -> Any:
        value, *parameters = arguments[own_arguments:]
        _budget.get().check()
        if name not in _TAKES_TEXT and any(isinstance(one, str) for one in (*parameters, *options.values())):
            raise TypeError(name)
        if isinstance(value, str | list) and len(value) > most:
            raise PromptError(f"The input is a template that applies {name!r} to more than {most} parts.")
        result = function(*arguments, **options)
        return list(result) if isinstance(result, Iterator) else result

    return apply


def _of_numbers(test: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(test)
    def apply(value: Any, *parameters: Any) -> Any:
        if not isinstance(value, int):
            raise TypeError(test.__name__)
        return test(value, *parameters)

    return apply


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
    environment.globals.clear()
    kept = {name: environment.filters[name] for name in _FILTERS} | {"join": _join, "trim": _trim}
    environment.filters = {name: _at_bounded_cost(name, function) for name, function in kept.items()} | {
        _STEP: _step,
        _LOOP: _loop,
    }
    for name in _ARITHMETIC_TESTS:
        environment.tests[name] = _of_numbers(cast("Callable[..., Any]", environment.tests[name]))
    return environment


_ENVIRONMENT: Final = _environment()
