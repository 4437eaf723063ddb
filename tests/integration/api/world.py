"""An organization with one of everything."""

import uuid

from api.watsonx.messages import USER, message_id
from shared.runs.lifecycle import RunStatus
from tests.integration.api.openapi import WATSONX


class World:
    """One organization with one of everything, known by the names that parameters have for it."""

    def __init__(self, client, factories):
        principal, secret = factories.principal_and_secret()
        headers = self.headers = {"Authorization": f"Bearer {secret}"}

        def post(path, **fields):
            answer = client.post(f"/api/{path}", json={"name": "x", **fields}, headers=headers)
            assert answer.status_code == 201
            return answer.json()

        self.alias = f"alias-{uuid.uuid4()}"
        run = factories.run(principal, status=RunStatus.SUCCEEDED)
        thread = post("threads", alias=self.alias)["thread_id"]
        rule = post("rules", rule="x")["rule_id"]
        ruleset = post("rulesets", alias=self.alias, rule_ids=[rule])["ruleset_id"]
        events = client.get(f"/api/assistant-runs/{run.id}/events", headers=headers).json()["events"]
        post("assistants", name=self.alias)
        structure = post("structures", name=self.alias, webhook_enabled=True)
        structure_run = post(f"structures/{structure['structure_id']}/runs", execution="external")
        self.ids = {
            "structure_id": structure["structure_id"],
            "deployment_id": structure["latest_deployment_id"],
            "structure_run_id": structure_run["structure_run_id"],
            "organization_id": str(principal.organization_id),
            "user_id": str(principal.user_id),
            "api_key_id": str(principal.key_id),
            "assistant_id": str(run.assistant_id),
            "assistant_run_id": str(run.id),
            "run_id": str(run.id),
            "event_id": events[0]["event_id"],
            "thread_id": thread,
            "message_id": post(f"threads/{thread}/messages", input="x", output="x")["message_id"],
            "ruleset_id": ruleset,
            "rule_id": rule,
        }
        self.queries = {
            "ruleset_id": ruleset,
            "created_by": str(principal.user_id),
            "alias": self.alias,
            "starts_with": self.alias,
            "agent_id": str(run.assistant_id),
            "names": self.alias,
            "ids": str(run.assistant_id),
            "thread_id": thread,
        }

    def ids_in(self, prefix):
        """The ids as a dialect has them: in one a message is a side of what the other calls so, say."""
        if prefix != WATSONX:
            return self.ids
        exchange = uuid.UUID(self.ids["message_id"])
        own = {"agent_id": self.ids["assistant_id"], "tool_id": self.ids["structure_id"]}
        return self.ids | own | {"message_id": str(message_id(exchange, USER))}

    def settle(self, client):
        """End the run that its caller executes: an organization with one that goes on cannot be deleted."""
        path = f"/api/structure-runs/{self.ids['structure_run_id']}/cancel"
        assert client.post(path, headers=self.headers).status_code == 200

    @staticmethod
    def loses_its_key(*operations):
        """Whether one of some operations takes away the very key that they are sent with."""
        return any(
            operation.method == "DELETE"
            and operation.parameters("path")[-1] in {"api_key_id", "organization_id"}
            for operation in operations
        )
