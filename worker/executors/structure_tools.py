"""The structures of an assistant, as tools of the framework."""

import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field
from griptape.artifacts import BaseArtifact, ErrorArtifact, TextArtifact
from griptape.drivers.structure_run.base_structure_run_driver import BaseStructureRunDriver
from griptape.tools import StructureRunTool

from worker.executors.base import CallableStructure

LONGEST_NAME: Final = 40  # characters; providers allow 64 for a tool and its activity together


@define
class CallDriver(BaseStructureRunDriver):
    """Runs a structure here, as a run of its own."""

    structure: CallableStructure = field(kw_only=True)

    def try_run(self, *args: BaseArtifact) -> BaseArtifact:
        output = self.structure.call([arg.to_text() for arg in args])
        value = output.get("value")
        text = value if isinstance(value, str) else str(value)
        return ErrorArtifact(text) if output.get("type") == "ErrorArtifact" else TextArtifact(text)


def structure_tools(structures: Sequence[CallableStructure]) -> list[Any]:
    """One tool for each structure, under names that are not the same."""
    names: list[str] = []
    for structure in structures:
        name = re.sub(r"[^A-Za-z0-9]", "", structure.name.title())[:LONGEST_NAME]
        name = name if name[:1].isalpha() else f"Structure{name}"
        names.append(name if name not in names else f"{name}{len(names) + 1}")
    return [
        StructureRunTool(
            name=name,
            description=structure.description or structure.name,
            structure_run_driver=CallDriver(structure=structure),
        )
        for name, structure in zip(names, structures, strict=True)
    ]
