"""`runyard config`: the settings that a process would have, each with its source."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import SecretStr

from cli.database_access import DataDir
from cli.listing import AsJson, print_list
from cli.local.dev_file import DATA_DIR, find_dev_file
from cli.tables import Column, Fit, Item
from shared.addresses.masking import MASK, masked
from shared.contradictions import ContradictingSettingsError, unmet_demands
from shared.settings import Settings, demand_startable, demand_structure_api_url, is_given
from shared.tracing import demand_exporter
from shared.variables import FILE, is_secret, value_of, variable_of

COLUMNS: Final = (Column("variable"), Column("value", Fit.WRAPPED), Column("source"))

DEV: Final = "runyard dev"

app = typer.Typer(add_completion=False)


@app.command()
def config(*, as_json: AsJson = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print the effective settings, each with its source. Secrets are masked.

    The sources are `default`, `environment`, `file` (a secret of `RUNYARD_…_FILE`) and `runyard dev`, which
    knows the addresses of its servers. A faulty setting is an error, as at the start of a process. The
    demands of all processes are checked, as far as settings and environment show them: no file, port or
    server is looked at.

    Exit codes: 0 every process can start with these settings, 1 one cannot.
    """
    urls = _urls_of_dev(data_dir)
    settings = Settings.model_validate(urls)
    demand_startable(settings)
    demand_structure_api_url(settings)
    demand_exporter(settings)
    if unmet := unmet_demands(settings):
        raise ContradictingSettingsError(" ".join(unmet))
    print_list(effective(settings, urls), COLUMNS, as_json=as_json)


def effective(settings: Settings, given: dict[str, str]) -> list[Item]:
    """Return a row for each setting: its variable, its value in the form of the environment, and its source.

    Args:
        settings: the settings.
        given: those that `runyard dev` knows.
    """
    return [
        {
            "variable": variable_of(name),
            "value": shown(getattr(settings, name), is_secret=is_secret(field)),
            "source": DEV if name in given else _source(name),
        }
        for name, field in Settings.model_fields.items()
    ]


def shown(value: Any, *, is_secret: bool) -> str:
    """A value in the form of the environment, without anything secret; empty without a value."""
    match value:
        case None:
            return ""
        case timedelta():
            return f"{value.total_seconds():.10g}"
        case SecretStr():
            text = value.get_secret_value()
        case _:
            text = str(value)
    if "://" in text:
        return ",".join(map(masked, text.split(","))) if not is_secret else masked(text)
    return MASK if is_secret and text else text


def _source(name: str) -> str:
    variable = variable_of(name)
    if value_of(f"{variable}{FILE}", os.environ) and is_secret(Settings.model_fields[name]):
        return "file"
    is_set = any(one.upper() == variable for one in os.environ)
    return "environment" if is_set else "default"


def _urls_of_dev(data_dir: Path) -> dict[str, str]:
    """The addresses that a running `runyard dev` knows and the environment does not."""
    missing = [name for name in ("database_url", "redis_url") if not is_given(name)]
    known = find_dev_file(data_dir) if missing else None
    return {} if known is None else {name: getattr(known, name) for name in missing}
