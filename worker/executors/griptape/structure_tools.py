"""The structures of an assistant, as tools of the framework."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from griptape.artifacts import BaseArtifact, ErrorArtifact, TextArtifact
from griptape.drivers.structure_run.base_structure_run_driver import BaseStructureRunDriver
from griptape.tools import StructureRunTool

from shared import tracing
from shared.structures.naming import LONGEST_NAME, tool_name
from worker.executors.base import CallableStructure


@define
class CallDriver(BaseStructureRunDriver):
    """Runs a structure as a run of its own."""

    structure: CallableStructure = field(kw_only=True)
    tool_name: str = field(kw_only=True)

    def try_run(self, *args: BaseArtifact) -> BaseArtifact:
        with tracing.span(f"execute_tool {self.tool_name}") as measured:
            output = self.structure.call([arg.to_text() for arg in args])
            if measured is not None:
                measured.set(
                    gen_ai__operation__name="execute_tool",
                    gen_ai__tool__name=self.tool_name,
                    gen_ai__tool__type="function",
                )
                measured.error = "tool_error" if output.get("type") == "ErrorArtifact" else None
        value = output.get("value")
        text = value if isinstance(value, str) else str(value)
        return ErrorArtifact(text) if output.get("type") == "ErrorArtifact" else TextArtifact(text)


def structure_tools(structures: Sequence[CallableStructure]) -> list[Any]:
    """Make one tool for each structure, under unique names."""
    names: list[str] = []
    for structure in structures:  # the wanted name, or the wanted one with a number from 2 on
        base = tool_name(structure.name)
        suffixes = ("", *map(str, range(2, len(names) + 2)))
        candidates = [base[: LONGEST_NAME - len(suffix)] + suffix for suffix in suffixes]
        names.append(next(name for name in candidates if name not in names))
    return [
        StructureRunTool(
            name=name,
            description=structure.description or structure.name,
            structure_run_driver=CallDriver(structure=structure, tool_name=name),
        )
        for name, structure in zip(names, structures, strict=True)
    ]
