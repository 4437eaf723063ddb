"""The served OpenAPI documents as tests walk them: one `Operation` per route and method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic import SecretStr
from starlette.routing import Mount

from api.app import create_app
from shared.settings import Settings

GRIPTAPE, WATSONX = "", "/api/v1"
"""Where each dialect's document, and what it describes, is."""

DIALECTS: Final = {"griptape": GRIPTAPE, "watsonx": WATSONX}

NOWHERE: Final = SecretStr("nowhere://")

_SMALLEST: Final = {"string": "x", "array": []}


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    document: Mapping[str, Any]
    method: str
    path: str
    spec: Mapping[str, Any]
    prefix: str = GRIPTAPE

    @property
    def url(self) -> str:
        return self.prefix + self.path

    @property
    def name(self) -> str:
        name: str = self.spec["operationId"]
        return name

    @property
    def is_keyed(self) -> bool:
        return "security" in self.spec

    @property
    def has_body(self) -> bool:
        return "requestBody" in self.spec

    def parameters(self, place: str) -> list[str]:
        """The names of the parameters in the path, in the query or among the headers."""
        return [item["name"] for item in self.spec.get("parameters", ()) if item["in"] == place]

    def fields(self) -> Mapping[str, Any]:
        """The fields of the body, each with its schema."""
        fields: Mapping[str, Any] = self._body().get("properties", {})
        return fields

    def smallest_body(self) -> Any:
        """A body of the fields that are needed."""
        if not self.has_body:
            return None
        if self._body().get("type") == "array":
            return []
        return {name: self._smallest(self.fields()[name]) for name in self._body().get("required", [])}

    def _smallest(self, schema: Mapping[str, Any]) -> Any:
        """A value of a field that is a text, an array or one of several words."""
        if "$ref" in schema:
            return self._smallest(self._resolved(schema["$ref"]))
        if "anyOf" in schema:
            return self._smallest(schema["anyOf"][0])
        return schema["enum"][0] if "enum" in schema else _SMALLEST[schema["type"]]

    def _body(self) -> Mapping[str, Any]:
        if not self.has_body:
            return {}
        schema = self.spec["requestBody"]["content"]["application/json"]["schema"]
        if schema.get("type") == "array":
            return dict(schema)
        for choice in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            if "$ref" in choice:
                return self._resolved(choice["$ref"])
        raise AssertionError(self.name)

    def _resolved(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        resolved: Mapping[str, Any] = found
        return resolved


@cache
def documents() -> Mapping[str, Mapping[str, Any]]:
    """The documents by their prefixes, made once: no setting of a test changes the paths in them."""
    app = create_app(Settings(database_url=NOWHERE, redis_url=NOWHERE))
    mounted = {mount.path: mount.app for mount in app.routes if isinstance(mount, Mount)}
    return {prefix: mounted.get(prefix, app).openapi() for prefix in DIALECTS.values()}


def operations(document: Mapping[str, Any], prefix: str = GRIPTAPE) -> Iterator[Operation]:
    """All operations, each path's in its order."""
    for path, methods in document["paths"].items():
        for method, spec in methods.items():
            yield Operation(document, method.upper(), path, spec, prefix)
