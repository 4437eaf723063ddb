"""Names of the tools that structures are."""

import pytest

from shared.structures.naming import LONGEST_NAME
from worker.executors.base import CallableStructure
from worker.executors.griptape.structure_tools import structure_tools


def names(*structures):
    tools = structure_tools([CallableStructure(name, "", lambda _: {}) for name in structures])
    return [tool.name for tool in tools]


@pytest.mark.parametrize(
    ("structures", "expected"),
    [
        (["Sample one", "other"], ["SampleOne", "Other"]),
        (["Foo3", "Foo", "Foo"], ["Foo3", "Foo", "Foo2"]),
        (["Foo2", "Foo", "Foo", "foo"], ["Foo2", "Foo", "Foo3", "Foo4"]),
        (["3", "!", "?"], ["Structure3", "Structure", "Structure2"]),
    ],
)
def test_no_two_are_called_the_same(structures, expected):
    assert names(*structures) == expected


def test_none_is_too_long():
    long = ["x" * 60] * 12 + ["1" * 60] * 2
    found = names(*long)
    assert len(set(found)) == len(long)
    assert max(map(len, found)) == LONGEST_NAME
