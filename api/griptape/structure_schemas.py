"""Shapes of structures."""

import re
import uuid
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

from api.griptape.common_schemas import GivenFields, LimitFields, ShownLimits
from api.griptape.fields import (
    Description,
    Instant,
    Name,
    optional,
)
from api.griptape.pagination import AnyPagination
from api.requests.known_keys import Careful
from shared.models import LIMITS, JsonObject, RunScope
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
    """An environment variable of a program."""

    name: VariableName
    value: VariableValue
    source: Annotated[Literal["manual", "secret_ref"], BeforeValidator(_source)] = "manual"


class ShownVariable(BaseModel):
    """An environment variable; its value is hidden."""

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
    """Code in a repository. It is stored, but not executed."""

    github: _Github


class _DataLake(_Strict):
    bucket_id: uuid.UUID
    asset_path: Text


class DataLakeCode(_Strict):
    """Code in a bucket. It is stored, but not executed."""

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
    """Code on the server: a folder, a `module:callable`, or by default the sample."""

    default: _Default


Code = GithubCode | DataLakeCode | DefaultCode


class _StructureFields(Careful, GivenFields, LimitFields):
    cleared: ClassVar = {
        "description": "",
        "env_vars": [],
        "code": SAMPLE,
        "run_scope": RunScope.OWN,
        **dict.fromkeys(["structure_config_file", *LIMITS]),
    }

    description: Description | None = None
    code: Code | None = None
    env_vars: EnvVars | None = None
    structure_config_file: Text | None = None
    webhook_enabled: StrictBool | None = None
    run_scope: RunScope | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that the caller set, by column; code without its absent parts."""
        fields = super().given()
        if self.code is not None:
            fields["code"] = self.code.model_dump(mode="json", exclude_none=True)
        return fields


class StructureCreate(_StructureFields):
    """A new structure."""

    name: Name


class StructureUpdate(_StructureFields):
    """The changes. Absent fields stay."""

    name: Name | None = None


class _StructureHead(BaseModel):
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


class StructureView(ShownLimits, _StructureHead):
    """A structure."""

    model_config = ConfigDict(from_attributes=True)

    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class StructureList(BaseModel):
    """A page of structures."""

    structures: list[StructureView]
    pagination: AnyPagination
