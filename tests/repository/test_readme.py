"""README.md and docs/ agree with the code."""

import re
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from cli.exit_codes import EXIT_CODES
from cli.main import COMMANDS
from scripts import diagrams
from shared.settings import Settings
from shared.variables import variables_of
from tests.support.checkout import ROOT

NOWHERE = Settings.model_validate({"database_url": "postgresql://h/d", "redis_url": "redis://h"})
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]
MANUAL = "\n".join(PAGES.values())
CODE = "\n".join(
    block or span
    for block, span in re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", MANUAL, re.MULTILINE | re.DOTALL)
)
"""All blocks and spans of code."""

FOLDERS = ("api", "bench", "cli", "deploy", "docs", "scripts", "shared", "tests", "worker")


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_generated_parts_are_as_the_code_has_them():
    check = subprocess.run(
        [sys.executable, ROOT / "scripts" / "render.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_every_link_of_the_readme_leads_somewhere(link: str):
    target, _, anchor = link.partition("#")
    assert (ROOT / target).exists()
    assert not anchor or anchor in slugs(target)


def test_the_readme_links_to_every_page_or_to_the_page_that_does():
    overview = "docs/operating/index.md"
    below = {name: f"{overview.rpartition('/')[0]}/{name}" for name in linked(PAGES[overview], r"[\w-]+\.md")}
    pages = set(PAGES) - {"README.md", "docs/index.md"}
    assert pages <= linked(README, r"docs/[^)#]+") | set(below.values())


def linked(text: str, path: str) -> set[str]:
    """The files that a text links to."""
    return set(re.findall(rf"\]\(({path})(?:#[^)]*)?\)", text))


def test_every_file_that_the_manual_names_exists():
    """Except in docs/extending.md, which names files that its reader writes, and the operator's own."""
    named = {
        path
        for page, text in PAGES.items()
        if page != "docs/extending.md"
        for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", text)
    }
    assert named
    assert {path for path in named if not (ROOT / path).exists()} == {"deploy/.env"}


def test_every_diagram_is_drawn():
    sources = [source for text in PAGES.values() for source in diagrams.FENCE.findall(text)]
    assert len(sources) >= 2
    for source in sources:
        drawn = diagrams.draw(source)
        assert drawn.startswith("<svg")
        assert drawn.endswith("</svg>")


@pytest.mark.parametrize(
    "source", ["pie", "sequenceDiagram\n loop forever", "stateDiagram-v2\n QUEUED --> ELSEWHERE: move"]
)
def test_a_diagram_that_cannot_be_drawn_is_an_error(source: str):
    with pytest.raises(diagrams.DiagramError):
        diagrams.draw(source)


def test_the_map_shows_every_folder():
    map_ = README.partition("## Map")[2].partition("## ")[0]
    shown = set(re.findall(r"^\| \[(\w+)/\]", map_, re.MULTILINE))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and re.match(r"[a-z]", path.name)}
    assert shown == folders - {"build", "dist"}


def test_every_command_it_names_exists():
    named = set(re.findall(r"\brunyard ([a-z]+)\b", CODE))
    assert {"run", "watch", "drain", "doctor"} <= named
    assert named <= set(COMMANDS)


def test_every_target_it_names_is_in_the_makefile():
    named = set(re.findall(r"\bmake ([a-z]+)\b", CODE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "check", "dev", "docs"} <= named
    assert named <= targets


def test_every_variable_it_names_is_a_setting():
    table = PAGES["docs/settings.md"].partition("settings:start")[2].partition("settings:end")[0]
    of_the_command_line = {"RUNYARD_API_URL", "RUNYARD_API_KEY"}
    named = set(re.findall(r"RUNYARD_[A-Z_]*[A-Z]", MANUAL)) - of_the_command_line
    assert named <= set(re.findall(r"RUNYARD_[A-Z_]+", table)) | set(variables_of(Settings.model_fields))


def test_it_tells_every_exit_code_of_a_run():
    told = dict(re.findall(r"(\d) `([A-Z]+)`", PAGES["docs/quickstart.md"]))
    assert told == {str(code): status for status, code in EXIT_CODES.items()}


def called(paths: dict[str, dict[str, object]], prefix: str) -> set[tuple[str, str]]:
    """The calls of an OpenAPI document, without the prefix of their paths."""
    return {
        (method.upper(), re.sub(r"\{\w+\}", "{id}", path.removeprefix(prefix)))
        for path, methods in paths.items()
        if path.startswith(f"{prefix}/")
        for method in methods
    }


@pytest.mark.parametrize(
    ("page", "document", "prefix"),
    [
        ("docs/griptape-api.md", "/openapi.json", "/api"),
        ("docs/watsonx-api.md", "/api/v1/openapi.json", ""),
    ],
)
def test_a_page_tells_every_call_of_its_api(page: str, document: str, prefix: str):
    table = PAGES[page].partition("## Calls")[2].partition("\n## ")[0]
    told = {
        (method, path)
        for methods, path in re.findall(r"`([A-Z ]+) (/[^`]*)`", table)
        for method in methods.split()
    }
    answer = TestClient(create_app(NOWHERE)).get(document)
    assert answer.status_code == 200
    served = called(answer.json()["paths"], prefix)
    if prefix == "":
        served = {call for call in served if not re.match(r"/orchestrate/(agents|tools)", call[1])}
    assert told == served
