"""Rulesets and their rules over HTTP."""

import uuid

import pytest

RULE = {
    *("rule_id", "name", "rule", "metadata", "organization_id", "created_by", "created_at", "updated_at"),
}
RULESET = {
    *("ruleset_id", "name", "alias", "description", "rule_ids", "metadata"),
    *("organization_id", "created_by", "created_at", "updated_at"),
}


@pytest.fixture
def create_rule(client):
    def create_rule(**fields):
        answer = client.post("/api/rules", json={"name": "polite", "rule": "Be polite.", **fields})
        assert answer.status_code == 201
        return answer.json()

    return create_rule


@pytest.fixture
def create(client):
    def create(**fields):
        answer = client.post("/api/rulesets", json={"name": "manners", **fields})
        assert answer.status_code == 201
        return answer.json()

    return create


def test_a_rule_has_a_name_and_a_text(client, create_rule, factories):
    rule = create_rule(name="n" * 200, rule="r" * 2000)
    assert set(rule) == RULE
    assert (rule["name"], rule["rule"], rule["metadata"]) == ("n" * 200, "r" * 2000, {})
    assert rule["organization_id"] == str(factories.default_principal().organization_id)
    assert rule["created_by"] == str(factories.default_principal().user_id)
    assert client.get(f"/api/rules/{rule['rule_id']}").json() == rule
    assert client.get("/api/rules").json()["rules"] == [rule]


def test_a_rule_is_changed_in_what_is_named(client, create_rule):
    rule = create_rule(metadata={"a": 1})
    url = f"/api/rules/{rule['rule_id']}"
    changed = client.patch(url, json={"rule": "Be brief.", "name": None, "colour": 1}).json()
    assert changed == rule | {"rule": "Be brief.", "updated_at": changed["updated_at"]}
    assert client.patch(url, json={"metadata": None}).json()["metadata"] == {}
    for content in (b"", b"null", b"{}"):
        assert client.patch(url, content=content).status_code == 200


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "n" * 201}, "body.name"),
        ({"name": "\x00"}, "body.name"),
        ({"rule": ""}, "body.rule"),
        ({"rule": "r" * 2001}, "body.rule"),
        ({"rule": {"type": "object"}}, "body.rule"),
        ({"rule": "\x00"}, "body.rule"),
        ({"metadata": [1]}, "body.metadata"),
    ],
)
def test_a_wrong_field_of_a_rule_is_a_400_that_names_it(client, create_rule, fields, path):
    rule = create_rule()
    for method, url in [("POST", "/api/rules"), ("PATCH", f"/api/rules/{rule['rule_id']}")]:
        answer = client.request(method, url, json={"name": "a", "rule": "b", **fields})
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == [path]
    assert client.get("/api/rules").json()["rules"] == [rule]


def test_a_rule_needs_both(client):
    for fields in ({}, {"name": "a"}, {"rule": "b"}, {"name": None, "rule": None}):
        assert client.post("/api/rules", json=fields).status_code == 400


def test_a_ruleset_needs_no_more_than_a_name(client, create, factories):
    ruleset = create()
    assert set(ruleset) == RULESET
    assert (ruleset["name"], ruleset["alias"], ruleset["description"]) == ("manners", "", "")
    assert (ruleset["rule_ids"], ruleset["metadata"]) == ([], {})
    assert ruleset["organization_id"] == str(factories.default_principal().organization_id)
    assert client.get(f"/api/rulesets/{ruleset['ruleset_id']}").json() == ruleset
    own = {"ruleset_id": ruleset["ruleset_id"]}
    assert create(**dict.fromkeys(["alias", "description", "rule_ids", "metadata"])) | own == ruleset


def test_a_ruleset_keeps_its_rules_in_their_order(client, create, create_rule):
    ids = [create_rule(name=str(number))["rule_id"] for number in range(5)]
    wanted = [ids[3], ids[0], ids[4], ids[0]]
    ruleset = create(rule_ids=wanted, alias="x", description="d" * 200, metadata={"a": 1})
    assert ruleset["rule_ids"] == wanted[:3]
    assert (ruleset["alias"], ruleset["description"], ruleset["metadata"]) == ("x", "d" * 200, {"a": 1})
    listed = client.get("/api/rules", params={"ruleset_id": ruleset["ruleset_id"]}).json()
    assert [rule["rule_id"] for rule in listed["rules"]] == wanted[:3]
    assert client.get("/api/rulesets").json()["rulesets"] == [ruleset]
    assert client.get("/api/rules").json()["pagination"]["total_count"] == 5


def test_all_rules_of_a_ruleset_are_one_page(client, create, create_rule):
    ids = [create_rule(name=str(number))["rule_id"] for number in range(120)]
    ruleset = create(rule_ids=ids)
    url = f"/api/rules?ruleset_id={ruleset['ruleset_id']}"
    page = client.get(url).json()
    assert [rule["rule_id"] for rule in page["rules"]] == ids
    assert page["pagination"]["total_pages"] == 1
    page = client.get(f"{url}&page=3.0&page_size=50.0").json()
    assert [rule["rule_id"] for rule in page["rules"]] == ids[100:]


def test_a_ruleset_nobody_has_has_no_rules(client, create_rule):
    create_rule()
    page = client.get("/api/rules", params={"ruleset_id": str(uuid.uuid4())}).json()
    assert (page["rules"], page["pagination"]["total_count"]) == ([], 0)
    for no_id in ("", "x", "%00"):
        assert client.get(f"/api/rules?ruleset_id={no_id}").status_code == 400


def test_a_change_of_rules_replaces_all_and_one_of_nothing_keeps_them(client, create, create_rule):
    first, second = create_rule()["rule_id"], create_rule()["rule_id"]
    ruleset = create(rule_ids=[first], alias="x", description="d", metadata={"a": 1})
    url = f"/api/rulesets/{ruleset['ruleset_id']}"
    for fields, expected in [
        ({"rule_ids": [second, first]}, [second, first]),
        ({"name": "new"}, [second, first]),
        ({"rule_ids": None}, [second, first]),
        ({"rule_ids": []}, []),
    ]:
        answer = client.patch(url, json=fields)
        assert (answer.status_code, answer.json()["rule_ids"]) == (200, expected)
    kept = {"alias": "x", "description": "d", "metadata": {"a": 1}, "name": "new"}
    assert {name: answer.json()[name] for name in kept} == kept
    cleared = client.patch(url, json=dict.fromkeys(kept)).json()
    assert [cleared[name] for name in kept] == ["", "", {}, "new"]
    for content in (b"", b"null", b"{}"):
        assert client.patch(url, content=content).json()["name"] == "new"


def test_a_rule_nobody_has_is_a_400_that_names_it(client, create, create_rule):
    rule, unknown = create_rule()["rule_id"], str(uuid.uuid4())
    ruleset = create(rule_ids=[rule], alias="x")
    for method, url in [("POST", "/api/rulesets"), ("PATCH", f"/api/rulesets/{ruleset['ruleset_id']}")]:
        answer = client.request(method, url, json={"name": "new", "rule_ids": [rule, unknown]})
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert unknown in error["message"]
        assert error["path"] == "rule_ids"
    assert client.get("/api/rulesets").json()["rulesets"] == [ruleset]


def test_deleting_a_rule_takes_it_out_of_its_rulesets(client, create, create_rule):
    first, second = create_rule()["rule_id"], create_rule()["rule_id"]
    ruleset = create(rule_ids=[first, second])
    url = f"/api/rulesets/{ruleset['ruleset_id']}"
    answer = client.delete(f"/api/rules/{first}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(url).json()["rule_ids"] == [second]
    assert client.get(f"/api/rules/{first}").status_code == 404
    assert client.delete(f"/api/rules/{second}").status_code == 204
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_deleting_a_ruleset_leaves_its_rules_and_its_assistants(client, create, create_rule):
    rule = create_rule()["rule_id"]
    ruleset = create(rule_ids=[rule])["ruleset_id"]
    assistant = client.post("/api/assistants", json={"name": "Ann", "ruleset_ids": [ruleset]}).json()
    assert client.delete(f"/api/rulesets/{ruleset}").status_code == 204
    assert client.get(f"/api/rules/{rule}").status_code == 200
    assert client.post(f"/api/assistants/{assistant['assistant_id']}/runs", json={}).status_code == 201


def test_an_alias_is_looked_up_exactly(client, create):
    for alias in ("ann", "Ann", "a&b", None, ""):
        create(name=alias or "none", alias=alias)

    def found(alias):
        answer = client.get("/api/rulesets", params={"alias": alias})
        assert answer.status_code == 200
        return [ruleset["name"] for ruleset in answer.json()["rulesets"]]

    assert [found(alias) for alias in ("ann", "Ann", "a&b")] == [["ann"], ["Ann"], ["a&b"]]
    assert [found(alias) for alias in ("", "an", "ANN", "%", "none")] == [[]] * 5
    assert client.get("/api/rulesets?alias=%00").status_code == 400


def test_an_alias_is_taken_only_once_in_an_organization(client, create, as_stranger):
    create(alias="ann")
    second = create(alias="bob")
    for answer in (
        client.post("/api/rulesets", json={"name": "new", "alias": "ann"}),
        client.patch(f"/api/rulesets/{second['ruleset_id']}", json={"alias": "ann", "rule_ids": []}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "Conflict")
        assert "'ann'" in answer.json()["errors"][0]["message"]
    assert client.get(f"/api/rulesets/{second['ruleset_id']}").json() == second
    theirs = client.post("/api/rulesets", json={"name": "x", "alias": "ann"}, headers=as_stranger)
    assert theirs.status_code == 201


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "n" * 201}, "body.name"),
        ({"alias": "a" * 201}, "body.alias"),
        ({"alias": "\x00"}, "body.alias"),
        ({"description": "d" * 201}, "body.description"),
        ({"metadata": "x"}, "body.metadata"),
        ({"rule_ids": "x"}, "body.rule_ids"),
        ({"rule_ids": ["x"]}, "body.rule_ids.0"),
        ({"rule_ids": [None]}, "body.rule_ids.0"),
    ],
)
def test_a_wrong_field_of_a_ruleset_is_a_400_that_names_it(client, create, fields, path):
    ruleset = create()
    for method, url in [("POST", "/api/rulesets"), ("PATCH", f"/api/rulesets/{ruleset['ruleset_id']}")]:
        answer = client.request(method, url, json={"name": "a", **fields})
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == [path]
