"""An organization with one of everything."""

import uuid

from api.watsonx.thread_message_schemas import USER, message_id
from shared.lifecycle import RunStatus
from tests.integration.api.openapi import WATSONX

RUNS = {"assistant_id", "agent_id", "assistant_run_id", "run_id", "event_id"}
THREADS = {"thread_id", "message_id"}
RULES = {"ruleset_id", "rule_id"}
STRUCTURES = {"structure_id", "tool_id", "deployment_id", "structure_run_id"}
ALL = RUNS | THREADS | RULES | STRUCTURES
"""Everything in an organization, by the names that parameters have for it."""


def needed(operations):
    """The names of what operations need of a world: those on an organization or a user need all of it."""
    names = {name for operation in operations for name in operation.parameters("path")}
    if any("rule_ids" in operation.fields() for operation in operations if operation.has_body):
        names.add("rule_id")
    return names if names & ALL else ALL


class World:
    """One organization with one of everything, known by the names that parameters have for it."""

    def __init__(self, client, factories, names=ALL):
        """Make it, or of its things only those that are named and what they belong to."""
        self.client = client
        self.principal, secret = factories.principal_and_secret()
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.alias = f"alias-{uuid.uuid4()}"
        self.ids = {
            "organization_id": str(self.principal.organization_id),
            "user_id": str(self.principal.user_id),
            "api_key_id": str(self.principal.key_id),
        }
        if RUNS & names:
            self._make_run(factories)
        if THREADS & names:
            thread = self.ids["thread_id"] = self._post("threads", alias=self.alias)["thread_id"]
            message = self._post(f"threads/{thread}/messages", input="x", output="x")
            self.ids["message_id"] = message["message_id"]
        if RULES & names:
            rule = self.ids["rule_id"] = self._post("rules", rule="x")["rule_id"]
            ruleset = self._post("rulesets", alias=self.alias, rule_ids=[rule])
            self.ids["ruleset_id"] = ruleset["ruleset_id"]
        if STRUCTURES & names:
            self._make_structure_run()

    @property
    def queries(self):
        """What parameters of a query may name of it."""
        return {
            "ruleset_id": self.ids["ruleset_id"],
            "created_by": self.ids["user_id"],
            "alias": self.alias,
            "starts_with": self.alias,
            "agent_id": self.ids["assistant_id"],
            "names": self.alias,
            "ids": self.ids["assistant_id"],
            "thread_id": self.ids["thread_id"],
        }

    def _post(self, path, **fields):
        answer = self.client.post(f"/api/{path}", json={"name": "x", **fields}, headers=self.headers)
        assert answer.status_code == 201
        return answer.json()

    def _make_run(self, factories):
        run = factories.run(self.principal, status=RunStatus.SUCCEEDED)
        listed = self.client.get(f"/api/assistant-runs/{run.id}/events", headers=self.headers)
        self._post("assistants", name=self.alias)
        self.ids |= {
            "assistant_id": str(run.assistant_id),
            "assistant_run_id": str(run.id),
            "run_id": str(run.id),
            "event_id": listed.json()["events"][0]["event_id"],
        }

    def _make_structure_run(self):
        structure = self._post("structures", name=self.alias, webhook_enabled=True)
        run = self._post(f"structures/{structure['structure_id']}/runs", execution="external")
        self.ids |= {
            "structure_id": structure["structure_id"],
            "deployment_id": structure["latest_deployment_id"],
            "structure_run_id": run["structure_run_id"],
        }

    def ids_in(self, prefix):
        """The ids as a dialect has them: in one a message is a side of what the other calls so, say."""
        if prefix != WATSONX:
            return self.ids
        called = {"agent_id": "assistant_id", "tool_id": "structure_id"}
        own = {name: self.ids[ours] for name, ours in called.items() if ours in self.ids}
        if "message_id" in self.ids:
            own["message_id"] = str(message_id(uuid.UUID(self.ids["message_id"]), USER))
        return self.ids | own

    def settle(self):
        """End the run that its caller executes: an organization with one that goes on cannot be deleted."""
        if "structure_run_id" in self.ids:
            path = f"/api/structure-runs/{self.ids['structure_run_id']}/cancel"
            assert self.client.post(path, headers=self.headers).status_code == 200

    @staticmethod
    def loses_its_key(*operations):
        """Whether one of some operations takes away the very key that they are sent with."""
        return any(
            operation.method == "DELETE"
            and operation.parameters("path")[-1] in {"api_key_id", "organization_id"}
            for operation in operations
        )
