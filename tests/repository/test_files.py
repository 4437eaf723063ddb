"""What holds for the files of the repository, and for the versions that it pins."""

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import api
import cli
import runyard
import shared
import worker
from tests.support.checkout import ROOT, tracked_files

PACKAGES = ("api", "worker", "cli", "shared", "runyard")
LOCKS = sorted(ROOT.glob("*.lock"))
CLIENTS = sorted((ROOT / "tests" / "conformance" / "clients").glob("*.lock"))
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(root|home|work|Users|farm)/[\w.-]")


def texts() -> list[tuple[Path, str]]:
    """Every tracked file but this one, which holds the patterns."""
    return [
        (path, path.read_text(encoding="utf-8", errors="replace"))
        for path in tracked_files()
        if path != Path(__file__)
    ]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: Path) -> dict[str, set[Version]]:
    """The versions a lock holds, by name; more than one where they differ by Python."""
    found: dict[str, set[Version]] = {}
    for line in re.findall(r"^[^\s#].*", lock.read_text(encoding="utf-8"), re.MULTILINE):
        requirement = Requirement(line.rstrip("\\ "))
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(specifier.version))
    return found


def test_the_packages_are_siblings():
    parents = {Path(str(package.__file__)).parent.parent for package in (api, worker, cli, shared, runyard)}
    assert parents == {ROOT}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_owns_a_package(package: str):
    owners = importlib.metadata.packages_distributions().get(package, [])
    assert set(owners) <= {"runyard"}


def test_every_dependency_is_pinned_as_the_project_demands():
    tables = project()
    dependencies = [
        *tables["project"]["dependencies"],
        *(line for extra in tables["project"]["optional-dependencies"].values() for line in extra),
        *(line for group in tables["dependency-groups"].values() for line in group),
    ]
    locked = pins(ROOT / "requirements.lock")
    for requirement in map(Requirement, dependencies):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_the_smaller_locks_hold_the_versions_of_the_whole(lock: Path):
    whole = pins(ROOT / "requirements.lock")
    assert {name: versions for name, versions in pins(lock).items() if not versions <= whole[name]} == {}


@pytest.mark.parametrize("lock", [*LOCKS, *CLIENTS], ids=lambda lock: lock.name)
def test_a_lock_holds_names_versions_and_hashes_only(lock: Path):
    line = re.compile(r"[a-z0-9-]+==[\w.]+( ; [\w '\"<>=!.()]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [text for text in lock.read_text(encoding="utf-8").splitlines() if not line.fullmatch(text)] == []


def test_the_changelog_begins_with_the_version_of_the_project():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[([^]]+)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert released is not None
    assert released[1] == project()["project"]["version"]


def test_no_comment_cites_a_document_that_its_reader_does_not_have():
    cites = re.compile(r"\b(contract|design)\b[^\n]{0,20}§", re.IGNORECASE)
    assert [path.relative_to(ROOT) for path, text in texts() if cites.search(text)] == []


def test_no_module_is_called_utils():
    assert [path for path in tracked_files() if path.stem in {"utils", "util", "helpers"}] == []


def test_no_file_names_a_place_on_the_machine_it_was_written_on():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_only_images_are_not_text():
    binary = [path.relative_to(ROOT) for path in tracked_files() if b"\0" in path.read_bytes()]
    assert {path.suffix for path in binary} <= {".png", ".woff2", ".ico"}, binary


def test_no_file_names_a_package_index():
    index = re.compile(r"--(extra-)?index-url[ =]|--find-links[ =]+\S*:|https?://[^\s\"']*/simple\b")
    found = [
        path.relative_to(ROOT) for path, text in texts() if index.search(text) and path != Path(__file__)
    ]
    assert found == []


def test_package_initialisers_import_nothing():
    initialisers = [
        path
        for path in tracked_files()
        if path.name == "__init__.py" and path.parent != ROOT / "shared" / "models"
    ]
    importing = [
        path.relative_to(ROOT)
        for path in initialisers
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert initialisers
    assert importing == []


def test_hooks_use_what_is_installed_and_download_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
