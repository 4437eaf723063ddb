"""The generated client of Griptape Cloud, in each of the versions that `make clients` puts side by side."""

import importlib
import importlib.util
import inspect
import json
import re
import sys
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tests.conformance.outside import folder

VERSIONS: Final = ("0.2.0", "0.1.1")

GROUPS: Final = (
    "default",  # where the generator put ListUsers
    "users",
    "api_keys",
    "organizations",
    "assistants",
    "assistant_runs",
    "structures",
    "structure_runs",
    "deployments",
    "events",
    "spans",
    "threads",
    "messages",
    "rulesets",
    "rules",
)
"""The folders of operations that this server answers."""

UNTYPED: Final = {
    "0.1.1": {"create_organization", "get_organization", "list_organizations", "update_organization"}
}
"""Operations whose result has no class: the client was generated without it, and gives bytes only."""

EMPTY: Final = {"create_events"}
"""Operations that answer without a body, like those that delete."""

SUCCESS: Final = {
    "create": HTTPStatus.CREATED,
    "delete": HTTPStatus.NO_CONTENT,
    "create_events": HTTPStatus.ACCEPTED,
    "create_structure_deployment": HTTPStatus.ACCEPTED,
}
"""By the operation, or by the verb it begins with; any other answers 200."""


def load(version: str) -> ModuleType:
    """Import a version under a name of its own, so that several live in one process."""
    name = "generated_client_" + version.replace(".", "_")
    if name not in sys.modules:
        package = folder(f"griptape_cloud_client-{version}") / "griptape_cloud_client"
        spec = importlib.util.spec_from_file_location(name, package / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def operations(version: str) -> dict[str, ModuleType]:
    """The operations of a version that are in our groups, by their name."""
    package = load(version)
    api = Path(str(package.__file__)).parent / "api"
    return {
        path.stem: importlib.import_module(f"{package.__name__}.api.{group}.{path.stem}")
        for group in GROUPS
        for path in sorted((api / group).glob("[!_]*.py"))
    }


def route(version: str) -> str:
    """What has to follow the host in the base URL: the routes of 0.2.0 hold the `/api` themselves."""
    return "" if version == "0.2.0" else "/api"


class Api:
    """A generated client, which is asked for operations by their name."""

    def __init__(self, version: str, client: Any) -> None:
        self.version = version
        self.client = client
        self.package = load(version)
        self.models = importlib.import_module(f"{self.package.__name__}.models")
        self.operations = operations(version)

    def detailed(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Call an operation; return the client's response, whatever its status."""
        return self.operations[operation].sync_detailed(*args, client=self.client, **kwargs)

    def call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Call an operation, which has to succeed as documented; return its typed result."""
        answer = self.detailed(operation, *args, **kwargs)
        verb = operation.partition("_")[0]
        expected = SUCCESS.get(operation, SUCCESS.get(verb, HTTPStatus.OK))
        assert answer.status_code == expected, answer.content
        if verb == "delete" or operation in EMPTY:
            assert answer.content == b""
            assert answer.parsed is None
        elif operation in UNTYPED.get(self.version, ()):
            assert answer.parsed is None
            return Namespace(**json.loads(answer.content))
        else:
            assert isinstance(answer.parsed, self.class_of(operation, "ResponseContent"))
        return answer.parsed

    def call_text(self, operation: str, *args: Any) -> str:
        """Call an operation whose result is text."""
        answer = self.detailed(operation, *args)
        assert answer.status_code == HTTPStatus.OK, answer.content
        assert isinstance(answer.parsed, str)
        return answer.parsed

    def refused(self, status: HTTPStatus, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Call an operation, which has to be refused with a typed error; return that."""
        answer = self.detailed(operation, *args, **kwargs)
        assert answer.status_code == status, answer.content
        assert isinstance(answer.parsed, self.models.ClientErrorResponseContent)
        return answer.parsed

    def body(self, operation: str, **fields: Any) -> Any:
        """The body of an operation, made of fields as they are on the wire.

        It is made by the constructor: the client's `from_dict` adds lists that nobody gave it.
        """
        kind = self.class_of(operation, "RequestContent")
        known = inspect.signature(kind).parameters
        given = {name + "_" * (name == "input"): self._typed(name, value) for name, value in fields.items()}
        body = kind(**{name: value for name, value in given.items() if name in known})
        body.additional_properties = {name: value for name, value in given.items() if name not in known}
        return body

    def _typed(self, name: str, value: Any) -> Any:
        match name:
            case "metadata":
                return self.models.Metadata.from_dict(value)
            case "model_config":
                return self.models.OrganizationModelConfig.from_dict(value)
            case "messages":
                return [self.models.MessageInput.from_dict(item) for item in value]
        return value

    def class_of(self, operation: str, suffix: str) -> Any:
        camel = re.sub(r"(?:^|_)([a-z])", lambda match: match[1].upper(), operation)
        return getattr(self.models, camel + suffix)


@contextmanager
def connected(version: str, base_url: str, key: str) -> Generator[Api]:
    """A version's client for a server."""
    with load(version).AuthenticatedClient(base_url=base_url, token=key) as client:
        yield Api(version, client)
