"""The tables, one a file; imported here so that the metadata is complete."""

from shared.lifecycle import Origin
from shared.models.api_key import ApiKey, KeyScope
from shared.models.assistant import LIMITS, RESOURCE_LISTS, UNSERVED_LISTS, Assistant
from shared.models.base import Base, JsonObject
from shared.models.idempotency_key import IdempotencyKey
from shared.models.installation import Installation
from shared.models.metadata import AssistantMetadata, RunMetadata, ThreadMetadata
from shared.models.organization import Organization
from shared.models.process_beat import ProcessBeat, ProcessKind
from shared.models.ruleset import Rule, Ruleset, RulesetRule
from shared.models.run import RUNS, Run
from shared.models.run_event import EARLIER_DAY, RUN_EVENTS, RunEvent
from shared.models.run_output import RunLogLine, RunSpan
from shared.models.run_tally import RunTally
from shared.models.structure import Deployment, DeploymentStatus, RunScope, Structure
from shared.models.thread import Message, Thread
from shared.models.user import Membership, Role, User

__all__ = [
    "EARLIER_DAY",
    "LIMITS",
    "RESOURCE_LISTS",
    "RUNS",
    "RUN_EVENTS",
    "UNSERVED_LISTS",
    "ApiKey",
    "Assistant",
    "AssistantMetadata",
    "Base",
    "Deployment",
    "DeploymentStatus",
    "IdempotencyKey",
    "Installation",
    "JsonObject",
    "KeyScope",
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
    "ThreadMetadata",
    "User",
]
