"""How a function is called, and what its output is."""

import sys
from types import ModuleType

import pytest

from worker.executors.program import call


@pytest.fixture
def output_of(monkeypatch):
    """Call a function of a module; return the outputs that are posted."""

    def output_of(source, *args):
        posted = []
        module = ModuleType("operators_module")
        exec(source, vars(module))  # noqa: S102  # our own
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(sys, "argv", ["call.py", "defined", f"{module.__name__}:own", *args])
        monkeypatch.setattr(call, "finish_or_exit", posted.append)
        call.main()
        return posted

    return output_of


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("def own(text): return text", ["a"]),
        ("def own(text): return {'text': text}", ['{"text": "a"}']),
        ("def own(text): pass", []),
        ("async def own(text): return text", ["a"]),
        ("def own(text): yield text; yield 'b'", ['["a", "b"]']),
    ],
    ids=["text", "object", "nothing", "coroutine", "generator"],
)
def test_the_result_of_a_function_is_its_output_however_it_is_defined(output_of, source, output):
    assert output_of(source, "a") == output
