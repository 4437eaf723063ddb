"""What is wrong with the settings themselves, as the doctor has been given them."""

from shared.doctor.findings import Finding, Severity
from shared.providers import ECHO, FRAMEWORK_PROVIDERS, known_providers
from shared.settings import Settings, misspelt_variables


def examine_settings(settings: Settings) -> list[Finding]:
    """Look at the settings that can be judged without a server; nothing if all of them are right."""
    findings = [_misspelt(), _model(settings), _structures(settings)]
    return [finding for finding in findings if finding is not None]


def _misspelt() -> Finding | None:
    nearly = misspelt_variables()
    if not nearly:
        return None
    seen = ", ".join(f"{name} (did you mean {meant}?)" for name, meant in nearly.items())
    return Finding(
        "Variables", Severity.WARNING, f"No settings: {seen}.", "Correct the names: they do nothing."
    )


def _model(settings: Settings) -> Finding | None:
    provider, _, name = settings.model.partition("/")
    known = known_providers()
    if provider in known and (name or provider not in FRAMEWORK_PROVIDERS - {ECHO}):
        return None
    seen = f"RUNYARD_MODEL={settings.model} names no provider and model: runs without one of their own fail."
    advice = f"Write <provider>/<model>; the providers are {', '.join(sorted(known))}."
    return Finding("Model", Severity.PROBLEM, seen, advice)


def _structures(settings: Settings) -> Finding | None:
    if settings.structures_dir is None or settings.structures_dir.is_dir():
        return None
    seen = f"RUNYARD_STRUCTURES_DIR: there is no directory {settings.structures_dir} on this machine."
    advice = "Make it, or correct the setting: until then structures with folders end in ERROR."
    return Finding("Structures", Severity.PROBLEM, seen, advice)
