"""What an operator allows structures to execute, and for whom."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from shared.errors import RunyardError
from shared.setting_types import names_of
from shared.settings import Settings

EVERY: Final = "*"

Organizations = frozenset[uuid.UUID] | None
"""For whom something is; None is for all."""


class AllowListError(RunyardError):
    """A list of what structures may execute cannot be read."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """Names, each for all organizations or for some: `name`, or `name@id` and `name@id+id`."""

    names: Mapping[str, Organizations]

    @classmethod
    def parse(cls, listed: str) -> Self:
        """Read a list separated by commas; a name that is there twice is for those of both.

        Raises:
            AllowListError: what is behind an `@` is no id of an organization.
        """
        names: dict[str, Organizations] = {}
        for entry in names_of(listed):
            name, at, whom = entry.partition("@")
            some = None
            if at:
                try:
                    some = frozenset(uuid.UUID(part.strip()) for part in whom.split("+"))
                except ValueError as error:
                    reason = "behind @ there have to be ids of organizations, joined by +."
                    raise AllowListError(f"{entry!r}: {reason}") from error
            earlier = names.get(name.strip(), frozenset())
            names[name.strip()] = None if some is None or earlier is None else some | earlier
        return cls(names)

    def has(self, name: str) -> bool:
        """Whether it has an entry of this name, for whomever."""
        return name in self.names

    def allows(self, name: str, organization_id: uuid.UUID) -> bool:
        """Whether an entry of this name is for an organization."""
        if name not in self.names:
            return False
        some = self.names[name]
        return some is None or organization_id in some


@dataclass(frozen=True, slots=True)
class Allowed:
    """The folders and callables of an installation."""

    folders: AllowList
    callables: AllowList

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the lists of the settings.

        Raises:
            AllowListError: one cannot be read.
        """
        return cls(AllowList.parse(settings.structure_folders), AllowList.parse(settings.structure_callables))

    def has_folder(self, name: str, organization_id: uuid.UUID) -> bool:
        """Whether an organization may execute a folder; one that is named is not among all others."""
        return self.folders.allows(name if self.folders.has(name) else EVERY, organization_id)

    def has_callable(self, target: str, organization_id: uuid.UUID) -> bool:
        """Whether an organization may have a `module:function` called.

        A module allows what is a plain name in it; whether it defines that is for its importer to see.
        """
        module, _, name = target.partition(":")
        if self.callables.allows(target, organization_id):
            return True
        return self.callables.allows(module, organization_id) and name.isidentifier() and name[:1] != "_"

    def is_named(self, target: str, organization_id: uuid.UUID) -> bool:
        """Whether a callable is allowed by its own name, and not as one of a module's."""
        return self.callables.allows(target, organization_id)
