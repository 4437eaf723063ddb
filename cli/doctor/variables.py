"""Findings about settings that need no server: variables, model, directory of structures."""

import os

from cli.doctor.findings import Finding, Severity
from shared.contradictions import contradictions
from shared.extensions import ECHO, FRAMEWORK_PROVIDERS, known_providers
from shared.settings import (
    RenamedVariableError,
    Settings,
    demand_structure_api_url,
    find_unknown_variables,
)
from shared.variables import UnknownVariableError


def examine_settings(settings: Settings) -> list[Finding]:
    """Return a finding for each faulty setting; none if the settings are right."""
    findings = []
    if unknown := find_unknown_variables():
        advice = "Correct or remove them: no process starts with such variables."
        seen = str(UnknownVariableError(unknown))
        findings.append(Finding("Variables", Severity.PROBLEM, seen, advice))
    if contradicting := contradictions(settings):
        advice = "Correct one of each pair: no process starts with them."
        findings.append(Finding("Contradictions", Severity.PROBLEM, " ".join(contradicting), advice))

    try:
        demand_structure_api_url(settings, os.environ)
    except RenamedVariableError as error:
        advice = "Rename it: a worker does not start with it."
        findings.append(Finding("Renamed", Severity.PROBLEM, str(error), advice))

    provider, _, name = settings.model.partition("/")
    known = known_providers()
    if provider not in known or (not name and provider in FRAMEWORK_PROVIDERS - {ECHO}):
        seen = f"RUNYARD_MODEL={settings.model} names no provider and model: runs without an own model fail."
        advice = f"Write it as <provider>/<model>. The providers are {', '.join(sorted(known))}."
        findings.append(Finding("Model", Severity.PROBLEM, seen, advice))

    if settings.structures_dir is not None and not settings.structures_dir.is_dir():
        seen = f"RUNYARD_STRUCTURES_DIR: there is no directory {settings.structures_dir} on this machine."
        advice = (
            "Create it, or correct the setting. Until then, runs of structures with folders end in ERROR."
        )
        findings.append(Finding("Structures", Severity.PROBLEM, seen, advice))
    return findings
