"""Promise 8: one tenant cannot stop another. The hostile tenant's hour, in half a minute.

How fast the other tenant is served is measured by ``python -m tests.support.hostile --minutes N`` on a
machine that does nothing else: beside other tests a time says nothing.
"""

import pytest

from tests.support.hostile import MEMORY, attack, attacked_stack

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(600)]

SECONDS = 25.0


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What came of it, on a stack that nobody else uses."""
    with attacked_stack(tmp_path_factory.mktemp("hostile")) as stack:
        yield attack(stack, seconds=SECONDS)


def test_the_other_tenant_is_refused_nothing(outcome):
    assert outcome.attacked
    assert list(outcome.refused) == []


def test_the_api_stays_small(outcome):
    assert outcome.memory < MEMORY


def test_nobody_loses_a_run_and_all_is_well_after(outcome):
    assert list(outcome.lost) == []
    assert outcome.doctor == 0, outcome.doctor_said
