"""The tables, one a file; imported here so that the metadata is complete."""

from shared.models.api_key import ApiKey
from shared.models.assistant import LIMITS, RESOURCE_LISTS, UNSERVED_LISTS, Assistant
from shared.models.base import Base, JsonObject
from shared.models.idempotency_key import IdempotencyKey
from shared.models.installation import Installation
from shared.models.organization import Organization
from shared.models.process_beat import ProcessBeat, ProcessKind
from shared.models.ruleset import Rule, Ruleset, RulesetRule
from shared.models.run import Run
from shared.models.run_event import (
    FINISH,
    FINISH_PROMPT,
    LAST_TYPES,
    REPEATED_TEXT,
    RUN_COMPLETED,
    RUN_RUNNING,
    START,
    STRUCTURE_RUN_STARTING,
    TEXT_CHUNK,
    Origin,
    RunEvent,
)
from shared.models.run_metadata import RunMetadata
from shared.models.run_output import RunLogLine, RunSpan
from shared.models.run_tally import RunTally
from shared.models.structure import Deployment, DeploymentStatus, RunScope, Structure
from shared.models.thread import Message, Thread
from shared.models.user import Membership, Role, User

__all__ = [
    "FINISH",
    "FINISH_PROMPT",
    "LAST_TYPES",
    "LIMITS",
    "REPEATED_TEXT",
    "RESOURCE_LISTS",
    "RUN_COMPLETED",
    "RUN_RUNNING",
    "START",
    "STRUCTURE_RUN_STARTING",
    "TEXT_CHUNK",
    "UNSERVED_LISTS",
    "ApiKey",
    "Assistant",
    "Base",
    "Deployment",
    "DeploymentStatus",
    "IdempotencyKey",
    "Installation",
    "JsonObject",
    "Membership",
    "Message",
    "Organization",
    "Origin",
    "ProcessBeat",
    "ProcessKind",
    "Role",
    "Rule",
    "Ruleset",
    "RulesetRule",
    "Run",
    "RunEvent",
    "RunLogLine",
    "RunMetadata",
    "RunScope",
    "RunSpan",
    "RunTally",
    "Structure",
    "Thread",
    "User",
]
