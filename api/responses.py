"""JSON answers, rendered by orjson."""

from typing import Any

import orjson
from starlette.responses import Response


class JsonResponse(Response):
    """A JSON body of anything orjson knows: dicts, lists, UUIDs, text, numbers."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)
