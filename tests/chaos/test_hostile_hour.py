"""Promise 8: one tenant cannot stop another. The hostile tenant's hour, in a short form.

How fast the other tenant is served is measured by ``python -m tests.support.hostile --minutes N`` on a
machine that does nothing else: beside other tests a time says nothing.
"""

import pytest

from tests.support.hostile import MEMORY, attack, attacked_stack

pytestmark = pytest.mark.timeout(600)

SHORT, FULL = 4.0, 25.0  # seconds


@pytest.fixture(
    scope="module", params=[SHORT, pytest.param(FULL, marks=pytest.mark.full_length)], ids=["short", "full"]
)
def outcome(request, tmp_path_factory):
    """What came of it, on a stack that nobody else uses."""
    with attacked_stack(tmp_path_factory.mktemp("hostile")) as stack:
        yield attack(stack, seconds=request.param)


def test_the_other_tenant_is_refused_nothing(outcome):
    assert outcome.attacked
    assert list(outcome.refused) == []


def test_the_api_stays_small(outcome):
    assert outcome.memory < MEMORY


def test_nobody_loses_a_run_and_all_is_well_after(outcome):
    assert list(outcome.lost) == []
    assert outcome.doctor == 0, outcome.doctor_said
