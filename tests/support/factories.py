"""Rows for tests: valid by default, a test names only what it is about."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.assistants import runs
from shared.assistants import service as assistants
from shared.db import Sessions, unit_of_work
from shared.keys import service as keys
from shared.keys.principal import Principal
from shared.lifecycle import RunStatus, Trigger
from shared.models import (
    ApiKey,
    Assistant,
    KeyScope,
    Membership,
    Organization,
    Role,
    Run,
    Structure,
    User,
)
from shared.organizations import admin
from shared.runs import moves, receipts, transitions
from shared.structures import runs as structure_runs
from shared.structures import service as structures
from tests.support.dispatching import RecordingDispatcher

WORKER: Final = "runs@test"
LEASE: Final = timedelta(seconds=20)

_ROADS: Final[Mapping[RunStatus, tuple[Trigger, ...]]] = {
    RunStatus.QUEUED: (),
    RunStatus.STARTING: (Trigger.CLAIM,),
    RunStatus.RUNNING: (Trigger.CLAIM, Trigger.START),
    RunStatus.SUCCEEDED: (Trigger.CLAIM, Trigger.START, Trigger.SUCCEED),
    RunStatus.FAILED: (Trigger.CLAIM, Trigger.START, Trigger.FAIL),
    RunStatus.ERROR: (Trigger.CLAIM, Trigger.START, Trigger.BREAK),
    RunStatus.CANCELLED: (Trigger.CANCEL,),
}
"""How a run gets into each status."""


class Factories:
    """Makes rows in one database, each call in a unit of work of its own."""

    def __init__(self, sessions: Sessions, dispatcher: RecordingDispatcher) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._principal: Principal | None = None
        self._assistants: dict[uuid.UUID, Assistant] = {}

    def principal(self, *, organization: str | None = None, email: str | None = None) -> Principal:
        """A new organization's only member, with a key."""
        return self.principal_and_secret(organization=organization, email=email)[0]

    def principal_and_secret(
        self, *, organization: str | None = None, email: str | None = None
    ) -> tuple[Principal, str]:
        """As `principal`, with the secret of the key: what a caller sends."""
        unique = uuid.uuid4().hex[:12]
        with unit_of_work(self._sessions) as session:
            if organization is None and email is None:
                return _new_principal(session, f"organization {unique}", f"user-{unique}@example.com")
            email = email or f"user-{unique}@example.com"
            owner = admin.ensure_organization(session, organization or f"organization {unique}")
            user = admin.ensure_member(session, owner.id, email)
            key, secret = keys.create_key(session, organization_id=owner.id, user_id=user.id, name="test")
            return Principal(owner.id, user.id, key.id, email), secret

    def assistant(self, principal: Principal | None = None, **fields: Any) -> Assistant:
        """An assistant, of the default principal if of nobody else."""
        with unit_of_work(self._sessions) as session:
            return assistants.create(
                session, principal or self.default_principal(), {"name": "assistant", **fields}
            )

    def run(
        self,
        principal: Principal | None = None,
        assistant: Assistant | None = None,
        *,
        status: RunStatus = RunStatus.QUEUED,
        **request: Any,
    ) -> Run:
        """A run, brought into a status as its worker `WORKER` and its first attempt would bring it.

        Without an assistant it is one made for the principal, the same for all their runs.
        """
        principal = principal or self.default_principal()
        assistant = assistant or self._default_assistant(principal)
        with unit_of_work(self._sessions) as session:
            wanted = runs.RunRequest(**{"input": "Hello", **request})
            run = runs.submit(session, self._dispatcher, principal, assistant.id, wanted)
            for trigger in _ROADS[status]:
                run = _step(session, run, trigger)
            session.refresh(run)
            return run

    def structure(self, principal: Principal | None = None, **fields: Any) -> Structure:
        """A structure, of the default principal if of nobody else."""
        with unit_of_work(self._sessions) as session:
            fields = {"name": "structure", **fields}
            return structures.create(session, principal or self.default_principal(), fields)

    def structure_run(
        self,
        principal: Principal | None = None,
        structure: Structure | None = None,
        *,
        status: RunStatus = RunStatus.QUEUED,
        **request: Any,
    ) -> Run:
        """A run of a structure, of a new one if of none, brought into a status as `run` does."""
        principal = principal or self.default_principal()
        structure = structure or self.structure(principal)
        with unit_of_work(self._sessions) as session:
            wanted = structure_runs.StructureRunRequest(**request)
            run = structure_runs.submit(session, self._dispatcher, principal, structure.id, wanted)
            for trigger in _ROADS[status]:
                run = _step(session, run, trigger)
            session.refresh(run)
            return run

    def default_principal(self) -> Principal:
        """The principal of everything that was made for nobody in particular."""
        if self._principal is None:
            self._principal = self.principal()
        return self._principal

    def _default_assistant(self, principal: Principal) -> Assistant:
        if principal.organization_id not in self._assistants:
            self._assistants[principal.organization_id] = self.assistant(principal)
        return self._assistants[principal.organization_id]


def _new_principal(session: Session, organization: str, email: str) -> tuple[Principal, str]:
    """Insert what nobody has a part of yet: most tests begin with it, so nothing is looked up for it."""
    principal = Principal(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), email)
    secret = keys.new_secret()
    of_both = {"organization_id": principal.organization_id, "user_id": principal.user_id}
    for table, values in (
        (Organization, {"id": principal.organization_id, "name": organization, "is_operators": True}),
        (User, {"id": principal.user_id, "email": email, "name": email.partition("@")[0]}),
        (Membership, {**of_both, "role": Role.OWNER}),
        (
            ApiKey,
            {
                **of_both,
                "id": principal.key_id,
                "name": "test",
                "secret_sha256": keys.hash_secret(secret),
                "has_checksum": True,
                "scope": KeyScope.ADMIN,
            },
        ),
    ):
        session.execute(insert(table).values(values))
    return principal, secret


def _step(session: Session, run: Run, trigger: Trigger) -> Run:
    match trigger:
        case Trigger.CLAIM:
            return moves.claim(
                session,
                RecordingDispatcher(),
                run.id,
                attempt=run.attempt + 1,
                worker=WORKER,
                lease_ttl=LEASE,
            )
        case Trigger.CANCEL:
            detail = receipts.cancel_detail(requested_by="user@example.com")
            return transitions.apply(session, run.id, trigger, detail=detail).run
        case Trigger.SUCCEED:
            values = {"output": {"type": "TextArtifact", "value": "Hello"}}
            return transitions.apply(session, run.id, trigger, attempt=run.attempt, values=values).run
        case _:
            return transitions.apply(session, run.id, trigger, attempt=run.attempt).run
