"""The shapes of structures and deployments (contract: griptape §9)."""

import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

from api.griptape.fields import (
    Attempts,
    Description,
    Duration,
    Instant,
    Name,
    Seconds,
    given,
    optional,
)
from api.griptape.pagination import AnyPagination
from api.known_keys import Careful
from shared.models import LIMITS, DeploymentStatus, JsonObject, RunScope
from shared.structures.code import SAMPLE, SOURCES
from shared.structures.service import HIDDEN

MAX_VARIABLES: Final = 200
MAX_VALUE: Final = 65_536  # characters of a variable's value

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

VariableName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=rf"^{_VARIABLE.pattern}$")
]
VariableValue = Annotated[str, StringConstraints(max_length=MAX_VALUE, pattern=r"^[^\x00]*$")]


def _source(value: Any) -> Any:
    if value is None:
        return "manual"
    return value.lower() if isinstance(value, str) else value


class EnvVar(BaseModel):
    """A variable of a program's environment; a source is read in upper case, too, and null is none."""

    name: VariableName
    value: VariableValue
    source: Annotated[Literal["manual", "secret_ref"], BeforeValidator(_source)] = "manual"


class ShownVariable(BaseModel):
    """A variable without its value, which no answer gives back."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    value: Annotated[str, BeforeValidator(lambda _: HIDDEN)] = HIDDEN
    source: str = "manual"


EnvVars = Annotated[list[EnvVar], Field(max_length=MAX_VARIABLES)]

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Strict(BaseModel):
    """A misspelt key would be other code, or the sample."""

    model_config = ConfigDict(extra="forbid")


class _Push(_Strict):
    branch: Text
    tag: Text | None = optional()


class _Github(_Strict):
    owner: Text
    name: Text
    push: _Push


class GithubCode(_Strict):
    """Code in a repository: stored, and not executed here."""

    github: _Github


class _DataLake(_Strict):
    bucket_id: uuid.UUID
    asset_path: Text


class DataLakeCode(_Strict):
    """Code in a bucket: stored, and not executed here."""

    data_lake: _DataLake


FolderName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
CallableName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class _Default(_Strict):
    folder: FolderName | None = optional()
    callable: CallableName | None = optional()

    @validator(mode="after")
    def _one_source(self) -> "_Default":
        if self.folder is not None and self.callable is not None:
            raise PydanticCustomError("code", f"Give one of {' and '.join(SOURCES)}.")
        return self


class DefaultCode(_Strict):
    """Code that is here: a folder of the operator's, a `module:callable`, or else the sample."""

    default: _Default


Code = GithubCode | DataLakeCode | DefaultCode


class _StructureFields(Careful):
    description: Description | None = None
    code: Code | None = None
    env_vars: EnvVars | None = None
    structure_config_file: Text | None = None
    webhook_enabled: StrictBool | None = None
    run_scope: RunScope | None = None
    max_duration: Duration | None = None
    queue_ttl: Duration | None = None
    max_attempts: Attempts | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set."""
        nothing: Mapping[str, Any] = dict.fromkeys(["structure_config_file", *LIMITS])
        cleared = {"description": "", "env_vars": [], "code": SAMPLE, "run_scope": RunScope.OWN, **nothing}
        fields = given(self, cleared=cleared)
        if self.code is not None:
            fields["code"] = self.code.model_dump(mode="json", exclude_none=True)
        return fields


class StructureCreate(_StructureFields):
    """A new structure."""

    name: Name


class StructureUpdate(_StructureFields):
    """What is to change; the rest stays."""

    name: Name | None = None


class StructureView(BaseModel):
    """A structure."""

    model_config = ConfigDict(from_attributes=True)

    structure_id: uuid.UUID = Field(validation_alias="id")
    organization_id: uuid.UUID
    name: str
    description: str
    code: JsonObject
    env_vars: list[ShownVariable]
    latest_deployment_id: uuid.UUID | None
    structure_config_file: str | None = optional()
    webhook_enabled: bool
    run_scope: RunScope
    max_duration: Seconds | None = optional()
    queue_ttl: Seconds | None = optional()
    max_attempts: int | None = optional()
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class StructureList(BaseModel):
    """A page of structures."""

    structures: list[StructureView]
    pagination: AnyPagination


class DeploymentCreate(BaseModel):
    """A wish to deploy: what is deployed is the structure's code as it is."""

    force: StrictBool | None = None


class DeploymentView(BaseModel):
    """A structure's code, made ready to run or not."""

    model_config = ConfigDict(from_attributes=True)

    deployment_id: uuid.UUID = Field(validation_alias="id")
    structure_id: uuid.UUID
    status: DeploymentStatus
    status_detail: Any = optional()
    code_source: JsonObject
    created_by: uuid.UUID
    created_at: Instant
    completed_at: Instant = Field(validation_alias="created_at")


class DeploymentList(BaseModel):
    """A page of deployments."""

    deployments: list[DeploymentView]
    pagination: AnyPagination
