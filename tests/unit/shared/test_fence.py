"""The fence's condition stands in one place."""

import ast

import pytest

from tests.support.checkout import ROOT

SOURCES = sorted(path for name in ("api", "worker", "cli", "shared") for path in (ROOT / name).rglob("*.py"))


def is_attempt(node: ast.AST) -> bool:
    """Whether a node is `Run.attempt`."""
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "Run.attempt"


def writes_the_fence(tree: ast.AST) -> bool:
    """Whether one expression asks for `Run.attempt` and for the statuses of a held run."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        nodes = list(ast.walk(call))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        if "HELD" in names and any(map(is_attempt, nodes)):
            return True
    return False


@pytest.mark.parametrize(
    "condition",
    [
        "query.where(Run.id == run_id, Run.attempt == attempt, Run.status.in_(HELD))",
        "and_(Run.status.in_(HELD), Run.attempt == attempt)",
        "update(Run).where(Run.attempt == attempt).where(Run.status.in_(HELD))",
    ],
)
def test_a_fence_of_its_own_is_found(condition):
    assert writes_the_fence(ast.parse(condition))


def test_nobody_but_the_fence_asks_whether_an_attempt_holds_a_run():
    writers = [path for path in SOURCES if writes_the_fence(ast.parse(path.read_text("utf-8")))]
    assert [str(path.relative_to(ROOT)) for path in writers] == ["shared/fence.py"]
