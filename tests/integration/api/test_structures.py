"""Structures and their deployments."""

import uuid

import pytest
from sqlalchemy import select

from shared.models import Structure
from shared.structures.service import HIDDEN

GITHUB = {"github": {"owner": "me", "name": "mine", "push": {"branch": "main"}}}
DATA_LAKE = {"data_lake": {"bucket_id": str(uuid.uuid4()), "asset_path": "structure.zip"}}


@pytest.fixture
def create(client):
    def create(**fields):
        answer = client.post("/api/structures", json={"name": "mine", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    return create


def test_a_structure_that_names_no_code_is_the_sample(client, create):
    structure = create()
    assert structure["code"] == {"default": {}}
    assert structure["env_vars"] == []
    assert structure["webhook_enabled"] is False
    assert client.get(f"/api/structures/{structure['structure_id']}").json() == structure
    assert client.get("/api/structures").json()["structures"] == [structure]


@pytest.mark.parametrize(
    "code",
    [GITHUB, DATA_LAKE, {"default": {"folder": "mine"}}, {"default": {"callable": "package.module:main"}}],
)
def test_code_is_stored_and_answered_as_it_is(client, create, code):
    structure = create(code=code)
    assert structure["code"] == code
    read = client.get(f"/api/structures/{structure['structure_id']}").json()
    assert read["code"] == code


@pytest.mark.parametrize(
    "code",
    [
        {},
        {"unknown": {}},
        {"default": {"folder": "../etc"}},
        {"default": {"folder": ".."}},
        {"default": {"folder": "a/b"}},
        {"default": {"callable": "os"}},
        {"default": {"folder": "a", "callable": "a:b"}},
        {"github": {"owner": "me"}},
        "default",
    ],
)
def test_other_code_is_refused(client, code):
    answer = client.post("/api/structures", json={"name": "mine", "code": code})
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_variables_are_read_in_either_case_and_answered_in_lower_case(create):
    variables = [
        {"name": "A", "value": "1", "source": "MANUAL"},
        {"name": "B", "value": "2", "source": "SECRET_REF"},
        {"name": "C", "value": ""},
        {"name": "D", "value": "4", "source": None},
    ]
    said = create(env_vars=variables)["env_vars"]
    assert [(one["name"], one["value"], one["source"]) for one in said] == [
        ("A", HIDDEN, "manual"),
        ("B", HIDDEN, "secret_ref"),
        ("C", HIDDEN, "manual"),
        ("D", HIDDEN, "manual"),
    ]


@pytest.mark.parametrize(
    "variable", [{"name": "A=B", "value": ""}, {"name": "", "value": ""}, {"name": "A", "value": "\0"}]
)
def test_a_variable_that_no_program_could_have_is_refused(client, variable):
    assert client.post("/api/structures", json={"name": "x", "env_vars": [variable]}).status_code == 400


STEERING = {"name": "PYTHONWARNINGS", "value": "all:0:antigravity.x:0:0"}


def refused_by_name(answer, path="body.env_vars.0.name"):
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert "PYTHONWARNINGS" in error["message"]
    assert error.get("path") == path
    return True


def test_a_variable_that_steers_an_interpreter_is_refused_wherever_it_is_given(client, create):
    structure = create()
    url = f"/api/structures/{structure['structure_id']}"
    named = {"name": "x", "env_vars": [STEERING]}
    assert refused_by_name(client.post("/api/structures", json=named))
    assert refused_by_name(client.patch(url, json={"env_vars": [STEERING]}))
    assert refused_by_name(client.post(f"{url}/runs", json={"env_vars": [STEERING]}))
    assert refused_by_name(client.post(f"{url}/runs", json={"env": {STEERING["name"]: STEERING["value"]}}))
    assert refused_by_name(client.post(f"{url}/runs", json={"execution": "external", "env_vars": [STEERING]}))
    assert client.get(f"{url}/runs").json()["structure_runs"] == []


def test_a_structure_that_has_one_from_before_the_rule_is_not_run(client, factories):
    structure = factories.structure(env_vars=[{**STEERING, "source": "manual"}], webhook_enabled=True)
    url = f"/api/structures/{structure.id}"
    assert refused_by_name(client.post(f"{url}/runs", json={}), path=None)
    assert refused_by_name(client.post(f"{url}/webhook"), path=None)
    assert client.patch(url, json={"env_vars": []}).status_code == 200
    assert client.post(f"{url}/runs", json={}).status_code == 201


def test_a_change_leaves_the_rest(client, create):
    structure = create(description="first", env_vars=[{"name": "A", "value": "1"}])
    url = f"/api/structures/{structure['structure_id']}"
    changed = client.patch(url, json={"description": "second"}).json()
    assert changed["description"] == "second"
    assert changed["env_vars"] == structure["env_vars"]
    assert changed["latest_deployment_id"] == structure["latest_deployment_id"]


def test_a_deleted_structure_is_unknown_and_its_runs_stay(client, create):
    structure_id = create()["structure_id"]
    run = client.post(f"/api/structures/{structure_id}/runs", json={}).json()
    assert client.delete(f"/api/structures/{structure_id}").status_code == 204
    assert client.get(f"/api/structures/{structure_id}").status_code == 404
    assert client.post(f"/api/structures/{structure_id}/runs", json={}).status_code == 404
    assert client.get(f"/api/structure-runs/{run['structure_run_id']}").status_code == 200


def test_a_structure_is_deployed_as_soon_as_it_is_there(client, create):
    """Clients look for SUCCEEDED in the latest deployment before they run a structure."""
    structure = create()
    deployment = client.get(f"/api/deployments/{structure['latest_deployment_id']}").json()
    assert deployment["status"] == "SUCCEEDED"
    assert deployment["structure_id"] == structure["structure_id"]
    assert deployment["completed_at"]


def test_code_that_is_not_executed_here_is_a_deployment_that_says_so(client, create):
    structure = create(code=GITHUB)
    deployment = client.get(f"/api/deployments/{structure['latest_deployment_id']}").json()
    assert deployment["status"] == "ERROR"
    assert "not executed here" in deployment["status_detail"]["error"]


def test_deployments_are_made_and_listed(client, create):
    structure = create()
    url = f"/api/structures/{structure['structure_id']}/deployments"
    answer = client.post(url, json={"force": True})
    assert answer.status_code == 202
    listed = client.get(url).json()["deployments"]
    assert {one["deployment_id"] for one in listed} == {
        answer.json()["deployment_id"],
        structure["latest_deployment_id"],
    }
    assert client.get(url, params={"status": "ERROR"}).json()["deployments"] == []


def test_new_code_is_a_new_deployment(client, create):
    structure = create()
    url = f"/api/structures/{structure['structure_id']}"
    changed = client.patch(url, json={"code": {"default": {"folder": "mine"}}}).json()
    assert changed["latest_deployment_id"] != structure["latest_deployment_id"]


def test_an_assistant_names_structures_that_are_there(client, create):
    structure_id = create()["structure_id"]
    answer = client.post("/api/assistants", json={"name": "x", "structure_ids": [structure_id]})
    assert answer.json()["structure_ids"] == [structure_id]
    unknown = str(uuid.uuid4())
    answer = client.post("/api/assistants", json={"name": "x", "structure_ids": [unknown]})
    assert answer.status_code == 400
    assert unknown in answer.text


def test_a_value_that_was_hidden_is_kept_when_it_is_sent_back(client, create, sessions):
    """Clients read a structure, change it, and send all of it back."""
    variables = [{"name": "A", "value": "first-secret"}, {"name": "B", "value": "second-secret"}]
    structure = create(env_vars=variables)
    url = f"/api/structures/{structure['structure_id']}"
    assert "secret" not in client.get(url).text + client.get("/api/structures").text
    shown = client.get(url).json()["env_vars"]
    client.patch(
        url, json={"env_vars": [shown[0], {"name": "B", "value": "third"}, {"name": "C", "value": "4"}]}
    )
    with sessions() as session:
        stored = session.scalars(select(Structure.env_vars)).one()
    assert [(one["name"], one["value"]) for one in stored] == [
        ("A", "first-secret"),
        ("B", "third"),
        ("C", "4"),
    ]


@pytest.mark.parametrize("scope", ["own", "runs", None])
def test_a_structure_says_what_the_keys_of_its_runs_may_do(client, create, scope):
    structure = create(run_scope=scope)
    assert structure["run_scope"] == (scope or "own")
    url = f"/api/structures/{structure['structure_id']}"
    assert client.patch(url, json={"run_scope": "runs"}).json()["run_scope"] == "runs"
    assert client.patch(url, json={"name": "x"}).json()["run_scope"] == "runs"
    assert client.patch(url, json={"run_scope": "everything"}).status_code == 400


@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "BROWSER", "LD_PRELOAD", "https_proxy"])
def test_a_variable_that_steers_what_executes_programs_is_a_400_that_names_it(client, create, name):
    structure = create()["structure_id"]
    variable = {"name": name, "value": "all:0:antigravity.x:0:0"}
    for method, path, body in (
        ("POST", "structures", {"name": "x", "env_vars": [{"name": "A", "value": "1"}, variable]}),
        ("PATCH", f"structures/{structure}", {"env_vars": [variable]}),
        ("POST", f"structures/{structure}/runs", {"env_vars": [variable]}),
        ("POST", f"structures/{structure}/runs", {"env": {name: "x"}}),
    ):
        answer = client.request(method, f"/api/{path}", json=body)
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert name in error["message"]
        assert error["path"].startswith("body.env_vars.")
