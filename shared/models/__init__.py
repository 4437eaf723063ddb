"""The tables, one a file; imported here so that the metadata is complete."""

from shared.models.api_key import ApiKey
from shared.models.assistant import LIMITS, RESOURCE_LISTS, Assistant
from shared.models.base import Base, JsonObject
from shared.models.idempotency_key import IdempotencyKey
from shared.models.organization import Organization
from shared.models.ruleset import Rule, Ruleset, RulesetRule
from shared.models.run import Run
from shared.models.run_event import FINISH, RUN_COMPLETED, Origin, RunEvent
from shared.models.run_tally import RunTally
from shared.models.thread import Message, Thread
from shared.models.user import Membership, User

__all__ = [
    "FINISH",
    "LIMITS",
    "RESOURCE_LISTS",
    "RUN_COMPLETED",
    "ApiKey",
    "Assistant",
    "Base",
    "IdempotencyKey",
    "JsonObject",
    "Membership",
    "Message",
    "Organization",
    "Origin",
    "Rule",
    "Ruleset",
    "RulesetRule",
    "Run",
    "RunEvent",
    "RunTally",
    "Thread",
    "User",
]
