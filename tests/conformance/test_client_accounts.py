"""The generated client: users, API keys, organizations."""

import datetime as dt
from argparse import Namespace
from operator import attrgetter

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def user(api):
    return api.call("list_users").users[0]


@pytest.fixture
def organization_id(user):
    return user.organizations[0]


def wire(organization):
    """An organization as its JSON; one version has a class for it, the other has not."""
    if isinstance(organization, dict):
        return organization
    return vars(organization) if isinstance(organization, Namespace) else organization.to_dict()


def test_users(api, user):
    assert isinstance(user, api.models.UserDetail)
    read = api.call("get_user", user.user_id)
    assert read.to_dict() == user.to_dict()
    assert "@" in read.email
    assert read.created_at <= read.updated_at <= dt.datetime.now(dt.UTC)


def test_keys_of_a_user(api, user, new):
    created = new("api_key", user.user_id, name="mine")
    assert created.value
    assert created.active is True
    assert created.created_by == user.user_id
    assert isinstance(created.last_used, dt.datetime)
    listed = api.call("list_api_keys", user.user_id, page_size=1)
    assert [key.api_key_id for key in listed.api_keys] == [created.api_key_id]
    assert isinstance(listed.api_keys[0], api.models.ApiKeyDetail)
    assert "value" not in listed.api_keys[0]
    assert listed.pagination.page_size == 1
    assert listed.pagination.next_page == 2


def test_keys_of_an_organization(api, organization_id, new):
    created = new("organization_api_key", organization_id, name="ours")
    assert created.organization_id == organization_id
    assert created.value
    listed = api.call("list_organization_api_keys", organization_id)
    assert created.api_key_id in {key.api_key_id for key in listed.api_keys}
    assert listed.pagination.total_count == len(listed.api_keys)


def test_the_life_of_a_key(api, user, new):
    key_id = new("api_key", user.user_id, name="first").api_key_id
    renamed = api.call("update_api_key", key_id, body=api.body("update_api_key", name="second"))
    assert renamed.name == "second"
    read = api.call("get_api_key", key_id)
    assert read.name == "second"
    assert "value" not in read
    api.call("delete_api_key", key_id)
    api.refused(404, "get_api_key", key_id)


def test_organizations(api, organization_id):
    organizations = [wire(each) for each in api.call("list_organizations").organizations]
    own = wire(api.call("get_organization", organization_id))
    assert own in organizations
    assert own["organization_id"] == organization_id
    assert own["entitlement"] in set(api.models.Entitlement)


def test_the_life_of_an_organization(api, new):
    created = new("organization", name="New", description="Of this test")
    assert (created.name, created.description) == ("New", "Of this test")
    changes = {"name": "Newer", "model_config": {"default_chat_model": "openai/words-5"}}
    identifier = created.organization_id
    changed = api.call("update_organization", identifier, body=api.body("update_organization", **changes))
    assert wire(changed).items() >= {**changes, "description": "Of this test"}.items()
    assert wire(api.call("get_organization", identifier)) == wire(changed)
    api.call("delete_organization", identifier)
    api.refused(404, "get_organization", identifier)


def test_users_of_an_organization(api, user, organization_id):
    listed = api.call("list_organization_users", organization_id, page=1, page_size=20)
    assert all(isinstance(member, api.models.OrganizationUserDetail) for member in listed.users)
    assert (user.user_id, user.email) in map(attrgetter("user_id", "email"), listed.users)
    assert listed.pagination.page_number == 1
