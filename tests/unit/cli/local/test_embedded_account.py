"""Whom PostgreSQL runs as."""

import pwd

import pytest

from cli.local.embedded.account import NamelessAccountError, demand_name
from cli.local.processes.child import Account

FREE = next(uid for uid in range(50_000, 60_000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})


def test_a_user_with_a_name_will_do():
    demand_name(None)
    demand_name(Account(0, 0))


def test_a_user_without_one_is_told_what_is_needed():
    with pytest.raises(NamelessAccountError, match=rf"{FREE} has none: .*/etc/passwd.*RUNYARD_DATABASE_URL"):
        demand_name(Account(FREE, FREE))
