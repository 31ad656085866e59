"""What must be right in manifests for KubeRay, beyond what Kubernetes itself refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from cluster.launch.cluster_file import Finding, placeholders, strings

_SECRET_NAME = re.compile(r"PASSWORD$|TOKEN$|SECRET$|_KEY$")
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@$]+@")
_SERVER = re.compile(r"shared_memory\.url=rediss?://(?:[^/@\s]*@)?([\w.-]+(?::\d+)?)")
OUTSIDE = ("LoadBalancer", "NodePort")


def check_manifests(documents: Sequence[dict[str, Any]]) -> list[Finding]:
    """Everything that is wrong in the documents of one file."""
    found: list[Finding] = []
    for document in documents:
        kind = str(document.get("kind"))
        name = f"{kind} {(document.get('metadata') or {}).get('name', 'without a name')}"
        if "apiVersion" not in document or not (document.get("metadata") or {}).get("name"):
            remedy = "write apiVersion, kind and metadata.name"
            found.append(Finding(name, "is no whole manifest", remedy))
            continue
        found += [_of(name, each) for each in placeholders(document)]
        found += [_of(name, each) for each in _secrets(kind, document)]
        spec = document.get("spec") or {}
        if kind == "RayJob" and "clusterSelector" not in spec:
            spec = {**(spec.get("rayClusterSpec") or {}), "entrypoint": spec.get("entrypoint", "")}
        if kind in ("RayCluster", "RayJob") and "headGroupSpec" in spec:
            found += [_of(name, each) for each in _ray_cluster(spec)]
    return found


def _of(name: str, finding: Finding) -> Finding:
    return Finding(
        f"{name}, {finding.where}", finding.what, finding.remedy, refused=finding.refused
    )


def _ray_cluster(spec: dict[str, Any]) -> Iterator[Finding]:
    if (spec.get("authOptions") or {}).get("mode") != "token":
        what = "pods of this namespace and others could run code on the cluster"
        yield Finding("authOptions", what, "write `authOptions: {mode: token}` (KubeRay 1.5.1)")
    version = metadata.version("ray")
    if str(spec.get("rayVersion")) != version:
        what = f"is {spec.get('rayVersion')}, but Ray {version} is what this program runs on"
        yield Finding("rayVersion", what, f'write "{version}", and an image with it')
    service = spec["headGroupSpec"].get("serviceType", "ClusterIP")
    if service in OUTSIDE:
        what = f"{service} shows Ray's ports outside of Kubernetes"
        remedy = "leave it out, and look with `kubectl port-forward`"
        yield Finding("headGroupSpec.serviceType", what, remedy, refused=False)
    store = spec.get("gcsFaultToleranceOptions") or {}
    if not store.get("redisAddress"):
        what = "the run does not survive a restart of the head's pod"
        remedy = "write gcsFaultToleranceOptions with a Redis of Ray's own"
        yield Finding("gcsFaultToleranceOptions", what, remedy, refused=False)
    banks = _SERVER.search(str(spec.get("entrypoint", "")))
    if banks is not None and store.get("redisAddress") in (banks[1], f"{banks[1]}:6379"):
        what = f"Ray's own state and the banks would share the server {banks[1]}"
        yield Finding("gcsFaultToleranceOptions", what, "give Ray a Redis of its own")


def _secrets(kind: str, document: dict[str, Any]) -> Iterator[Finding]:
    """Values that belong into a Secret made from a file, not into a manifest."""
    remedy = "take it from a Secret (`valueFrom`), made with `kubectl create secret --from-file`"
    if kind == "Secret" and (document.get("data") or document.get("stringData")):
        yield Finding("data", "a secret stands in the file", remedy)
    for where, entry in _variables(document):
        if entry.get("value") and _SECRET_NAME.search(str(entry.get("name"))):
            yield Finding(where, f"{entry['name']} stands in the file", remedy)
    for where, text in strings(document):
        if _URL_WITH_PASSWORD.search(text):
            yield Finding(where, "a password stands in a URL", remedy)


def _variables(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every environment variable of every container."""
    if isinstance(value, dict):
        for key, below in value.items():
            place = f"{where}.{key}" if where else str(key)
            if key == "env" and isinstance(below, list):
                yield from ((place, entry) for entry in below if isinstance(entry, dict))
            else:
                yield from _variables(below, place)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _variables(below, f"{where}.{number}")
