"""What the readings of servers' addresses have in common."""

from shared.errors import RunyardError


class AddressError(RunyardError):
    """The address of a server, in a setting, is none that can be used; nothing secret is quoted."""
