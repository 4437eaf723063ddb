"""Empty strings: some clients send them where they mean null."""

import uuid
from typing import Annotated, Final

from pydantic import BeforeValidator

BLANK_IS_NONE: Final = BeforeValidator(lambda value: None if value == "" else value)

OptionalId = Annotated[uuid.UUID | None, BLANK_IS_NONE]
"""An id, or none: null or the empty string."""
