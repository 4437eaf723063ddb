"""Errors that Runyard raises on purpose.

RunyardError
├── InvalidRequestError         the request is not valid; nothing was done
├── OutputTooLargeError         a program's output or report is larger than the limit
├── NotFoundError               this organization has no such resource
│   ├── RunNotFoundError
│   ├── AssistantNotFoundError
│   ├── StructureNotFoundError
│   ├── DeploymentNotFoundError
│   ├── EventNotFoundError
│   ├── ThreadNotFoundError
│   ├── MessageNotFoundError
│   ├── RulesetNotFoundError
│   ├── RuleNotFoundError
│   ├── OrganizationNotFoundError
│   ├── UserNotFoundError
│   └── ApiKeyNotFoundError
├── ConflictError               the present state forbids it; nothing was done
│   └── LimitReachedError       the organization has as many as its limit allows
├── UnauthenticatedError        no key, or an invalid one
├── ForbiddenError              the key is valid, but may not do this
├── TransitionRefusedError      the run's status or attempt forbids the move; nothing was written
├── ShareUsedUpError            its tenant's share has no room; nothing was written
├── LeaseLostError              the attempt no longer holds the run; nothing was written
├── QueueFullError              an organization has as many QUEUED runs as it may; ask again
├── TooManyRefusalsError        an address tries too many keys
└── ServiceUnavailableError     PostgreSQL cannot be used; ask again
    ├── ContendedError          other transactions were in the way; ask again
    └── OverloadedError         too many requests wait; ask again
"""

import uuid
from collections.abc import Sequence


class RunyardError(Exception):
    """Something Runyard refuses or cannot do."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)

    @property
    def message(self) -> str:
        return str(self)


class InvalidRequestError(RunyardError):
    """The request is not valid."""

    def __init__(self, message: str | None = None, *, path: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)


class OutputTooLargeError(RunyardError):
    """What a program gives back is more than is kept."""


class NotFoundError(RunyardError):
    """There is no such thing."""

    def __init__(self, identifier: uuid.UUID | str | None = None) -> None:
        what = (type(self).__doc__ or "").strip()
        super().__init__(what if identifier is None else f"{what.rstrip('.')}: {identifier}.")


class RunNotFoundError(NotFoundError):
    """There is no such run."""


class AssistantNotFoundError(NotFoundError):
    """There is no such assistant."""


class StructureNotFoundError(NotFoundError):
    """There is no such structure."""


class DeploymentNotFoundError(NotFoundError):
    """There is no such deployment."""


class EventNotFoundError(NotFoundError):
    """There is no such event."""


class ThreadNotFoundError(NotFoundError):
    """There is no such thread."""


class MessageNotFoundError(NotFoundError):
    """There is no such message."""


class RulesetNotFoundError(NotFoundError):
    """There is no such ruleset."""


class RuleNotFoundError(NotFoundError):
    """There is no such rule."""


class OrganizationNotFoundError(NotFoundError):
    """There is no such organization."""


class UserNotFoundError(NotFoundError):
    """There is no such user."""


class ApiKeyNotFoundError(NotFoundError):
    """There is no such API key."""


class ConflictError(RunyardError):
    """What is there already forbids it."""


class LimitReachedError(ConflictError):
    """There are as many of these as there may be."""


class UnauthenticatedError(RunyardError):
    """A valid API key is needed: send it as `Authorization: Bearer <key>`."""


class ForbiddenError(RunyardError):
    """This key is not meant for that."""


class TransitionRefusedError(RunyardError):
    """The run's present status does not allow this move."""

    def __init__(self, *, status: str, attempt: int, trigger: str) -> None:
        super().__init__(f"A run that is {status} (attempt {attempt}) refuses {trigger!r}.")
        self.status = status
        self.attempt = attempt
        self.trigger = trigger


class ShareUsedUpError(RunyardError):
    """The run's organization has as many runs under way as it may."""


class LeaseLostError(RunyardError):
    """This attempt no longer owns the run."""

    def __init__(self, *, status: str | None) -> None:
        super().__init__(f"This attempt no longer owns the run, which is {status or 'gone'}.")
        self.status = status


class ServiceUnavailableError(RunyardError):
    """The database cannot be used at the moment."""


class ContendedError(ServiceUnavailableError):
    """Others are changing the same things just now; nothing was done. Ask again."""


class OverloadedError(ServiceUnavailableError):
    """The server has more to do than it can at the moment; ask again."""


class QueueFullError(RunyardError):
    """As many runs of the organization wait for a worker as may; ask again when some have begun."""


class TooManyRefusalsError(RunyardError):
    """Too many wrong keys have come from this address; a key it has not used before has to wait."""
