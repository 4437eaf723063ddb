"""The finding about the sandbox of structure programs."""

from typing import Final

from cli.doctor.findings import Finding, Severity
from shared.settings import Settings
from shared.structures.sandbox import INSTALL, Mode, choose

NAME: Final = "Sandbox"
UNHELD: Final = (
    "Install bubblewrap and set RUNYARD_STRUCTURE_SANDBOX=auto, or execute only code that you trust."
)


def examine_sandbox(settings: Settings) -> Finding:
    """Check the sandbox on this machine, where a worker may or may not run.

    A missing sandbox is a warning only if programs can be executed: the sample needs none.
    """
    choice = choose(settings)
    has_programs = settings.structures_dir is not None or bool(settings.structure_callables)
    if choice.sandbox is None:
        severity = Severity.WARNING if has_programs else Severity.OK
        return Finding(NAME, severity, choice.why_not, f"On workers: {INSTALL}." if has_programs else "")
    seen = f"Programs are held by {choice.description}."
    if choice.sandbox.mode is Mode.NONE:
        return Finding(NAME, Severity.WARNING, seen, UNHELD)
    return Finding(NAME, Severity.OK, seen)
