"""What schemas of several resources share: given fields, limits of runs, lists of resources."""

import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from typing import Any, ClassVar

from pydantic import BaseModel

from api.griptape.fields import Attempts, Duration, Ids, Seconds, UnservedIds, optional


class GivenFields(BaseModel):
    """A request that creates or changes a row by the fields that the caller set."""

    cleared: ClassVar[Mapping[str, Any]] = {}
    """The value of a column whose field is null. For any other field null is the same as absent."""

    no_columns: ClassVar[AbstractSet[str]] = frozenset()
    """Fields without a column."""

    def given(self) -> dict[str, Any]:
        """Return the fields that the caller set, by column."""
        fields = self.model_dump(exclude_unset=True, exclude=set(self.no_columns))
        present = {name: value for name, value in fields.items() if value is not None}
        nulls = {name: value for name, value in self.cleared.items() if fields.get(name, ...) is None}
        nulls = deepcopy(nulls)  # a row may change its value in place
        both = {**present, **nulls}
        return {"meta" if name == "metadata" else name: value for name, value in both.items()}


class LimitFields(BaseModel):
    """Limits of runs, in a request."""

    max_duration: Duration | None = None
    queue_ttl: Duration | None = None
    max_attempts: Attempts | None = None


class ShownLimits(BaseModel):
    """Limits of runs, in a response."""

    max_duration: Seconds | None = optional()
    queue_ttl: Seconds | None = optional()
    max_attempts: int | None = optional()


class ResourceFields(BaseModel):
    """Lists of resources, in a request."""

    knowledge_base_ids: UnservedIds = None
    retriever_ids: UnservedIds = None
    ruleset_ids: Ids | None = None
    structure_ids: Ids | None = None
    tool_ids: UnservedIds = None


class ShownResources(BaseModel):
    """Lists of resources, in a response."""

    knowledge_base_ids: list[uuid.UUID]
    retriever_ids: list[uuid.UUID]
    ruleset_ids: list[uuid.UUID]
    structure_ids: list[uuid.UUID]
    tool_ids: list[uuid.UUID]
