"""The public surface for extensions: what it names, and that it is enough."""

import ast
import inspect
import sys
from types import ModuleType

import pytest

import runyard.executors
import runyard.guardrails
from tests.support.checkout import ROOT

MODULES = (runyard.executors, runyard.guardrails)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_offers_exactly_what_it_names(module: ModuleType):
    public = {name for name in vars(module) if not name.startswith("_")}
    assert public == set(module.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_everything_on_the_surface_says_what_it_is(module: ModuleType):
    classes = [getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))]
    assert [one.__name__ for one in classes if not one.__doc__] == []


def test_the_toy_needs_nothing_but_the_surface():
    toy = ast.parse((ROOT / "tests" / "support" / "toy" / "toy.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(toy) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.partition(".")[0] not in sys.stdlib_module_names} == {
        "runyard.executors",
        "runyard.guardrails",
    }
