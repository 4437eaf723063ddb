"""The part of kustomize that deploy/kubernetes uses.

What is beyond it is an error, and so is a patch that hits nothing.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

Resource = dict[str, Any]

KNOWN: Final = {
    *("apiVersion", "kind", "labels", "namespace", "resources", "images", "replicas", "patches"),
}
CLUSTER_WIDE: Final = {"Namespace"}


class KustomizeError(Exception):
    """A kustomization names what is not there, or uses what this builder does not know."""


def build(directory: Path) -> list[Resource]:
    """Return the resources of a kustomization and of those it stands on, changed as it says.

    Raises:
        KustomizeError: a file, a target, an image or a replica count has nothing that it stands for.
    """
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(kustomization) - KNOWN:
        raise KustomizeError(f"{directory.name}: {sorted(unknown)}")
    resources = [resource for name in kustomization["resources"] for resource in _read(directory / name)]
    unlisted = {path.name for path in directory.glob("*.yaml")} - _files_of(kustomization)
    if unlisted:
        raise KustomizeError(f"{directory.name}: no kustomization names {sorted(unlisted)}")
    for patch in kustomization.get("patches", ()):
        _patch(resources, patch, directory)
    for count in kustomization.get("replicas", ()):
        for resource in _matching(resources, {"kind": "Deployment", "name": count["name"]}):
            resource["spec"]["replicas"] = count["count"]
    for image in kustomization.get("images", ()):
        _set_image(resources, image)
    for labels in kustomization.get("labels", ()):
        for resource in resources:
            resource["metadata"].setdefault("labels", {}).update(labels["pairs"])
    if namespace := kustomization.get("namespace"):
        for resource in resources:
            if resource["kind"] not in CLUSTER_WIDE:
                resource["metadata"]["namespace"] = namespace
    return resources


def containers(resource: Resource) -> list[dict[str, Any]]:
    """The containers of a resource that makes pods; none of any other."""
    found: list[dict[str, Any]] = (
        resource.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    )
    return found


def _read(path: Path) -> list[Resource]:
    if path.is_dir():
        return build(path)
    if not path.is_file():
        raise KustomizeError(f"{path} is not there")
    aliased = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    apart: list[Resource] = json.loads(json.dumps(aliased))  # an alias would be changed wherever it stands
    return apart


def _files_of(kustomization: dict[str, Any]) -> set[str]:
    patches = {patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch}
    return {"kustomization.yaml", *kustomization["resources"], *patches}


def _matching(resources: list[Resource], target: dict[str, str]) -> list[Resource]:
    found = [
        resource
        for resource in resources
        if resource["kind"] == target["kind"] and re.fullmatch(target["name"], resource["metadata"]["name"])
    ]
    if not found:
        raise KustomizeError(f"nothing is {target}")
    return found


def _patch(resources: list[Resource], patch: dict[str, Any], directory: Path) -> None:
    text = patch["patch"] if "patch" in patch else (directory / patch["path"]).read_text(encoding="utf-8")
    change = yaml.safe_load(text)
    target = patch.get("target") or {"kind": change["kind"], "name": change["metadata"]["name"]}
    for resource in _matching(resources, target):
        if isinstance(change, list):
            for operation in change:
                _remove(resource, operation)
        else:
            _merge(resource, {name: value for name, value in change.items() if name != "metadata"})


def _remove(resource: Resource, operation: dict[str, str]) -> None:
    *parents, name = operation["path"].strip("/").split("/")
    if operation["op"] != "remove":
        raise KustomizeError(f"unknown: {operation}")
    place = resource
    for parent in parents:
        place = place[parent]
    if name not in place:
        raise KustomizeError(f"{resource['metadata']['name']} has no {operation['path']}")
    del place[name]


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, list):
            raise KustomizeError(f"lists are merged by rules of their own: {name}")
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _merge(old[name], value)
        else:
            old[name] = value


def _set_image(resources: list[Resource], image: dict[str, str]) -> None:
    found = [
        container
        for resource in resources
        for container in containers(resource)
        if container["image"].partition(":")[0] == image["name"]
    ]
    if not found:
        raise KustomizeError(f"no container has the image {image['name']}")
    for container in found:
        container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
