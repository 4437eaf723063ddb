"""The structures of an assistant, as tools of the framework."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from griptape.artifacts import BaseArtifact, ErrorArtifact, TextArtifact
from griptape.drivers.structure_run.base_structure_run_driver import BaseStructureRunDriver
from griptape.tools import StructureRunTool

from shared.structures.naming import LONGEST_NAME, tool_name
from worker.executors.base import CallableStructure


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
        names.append(_free_name(structure.name, names))
    return [
        StructureRunTool(
            name=name,
            description=structure.description or structure.name,
            structure_run_driver=CallDriver(structure=structure),
        )
        for name, structure in zip(names, structures, strict=True)
    ]


def _free_name(wanted: str, taken: Sequence[str]) -> str:
    """A name for a tool that none has yet: what is wanted, as far as that goes, counted from 2 on."""
    base = tool_name(wanted)
    suffixes = ("", *map(str, range(2, len(taken) + 2)))
    candidates = (base[: LONGEST_NAME - len(suffix)] + suffix for suffix in suffixes)
    return next(name for name in candidates if name not in taken)
