"""The error of all parsers of addresses."""

from shared.errors import RunyardError


class AddressError(RunyardError):
    """The address of a server cannot be used. The message quotes nothing secret."""
