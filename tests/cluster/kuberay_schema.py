"""What our manifests use of KubeRay's `ray.io/v1`, by the names of its API reference (ours).

KubeRay's own definitions are two megabytes and no part of this repository; where `KUBERAY_CRDS`
names their folder, the manifests are validated against them as well.
"""

from __future__ import annotations

import copy
from typing import Any

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def section(needed: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(needed),
        "additionalProperties": False,
    }


def several(each: dict[str, Any]) -> dict[str, Any]:
    """A list."""
    return {"type": "array", "items": each, "minItems": 1}


SECRET = section(("secretKeyRef",), secretKeyRef=section(("name", "key"), name=TEXT, key=TEXT))
CONTAINER = section(
    ("name", "image"),
    name=TEXT,
    image=TEXT,
    env=several(section(("name",), name=TEXT, value=TEXT, valueFrom=SECRET)),
    ports=several(section(("containerPort",), name=TEXT, containerPort=COUNT)),
    resources=section(requests=TEXTS, limits=TEXTS),
    volumeMounts=several(section(("name", "mountPath"), name=TEXT, mountPath=TEXT)),
)
VOLUME = section(
    ("name",), name=TEXT, persistentVolumeClaim=section(("claimName",), claimName=TEXT)
)
POD = section(
    ("spec",),
    spec=section(
        ("containers",),
        containers=several(CONTAINER),
        volumes=several(VOLUME),
        terminationGracePeriodSeconds=COUNT,
    ),
)
CLUSTER = section(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=section(("mode",), mode={"enum": ["token", "disabled"]}),
    gcsFaultToleranceOptions=section(
        ("redisAddress",), redisAddress=TEXT, redisPassword=section(valueFrom=SECRET)
    ),
    headGroupSpec=section(("template",), rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=several(
        section(
            ("groupName", "template"),
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)
JOB = section(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER,
)
SCHEMAS = {
    kind: section(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=section(("name",), name=TEXT),
        spec=spec,
    )
    for kind, spec in (("RayCluster", CLUSTER), ("RayJob", JOB))
}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition of Kubernetes that refuses unknown fields, which it would drop in silence."""
    found = copy.deepcopy(schema)
    found["properties"]["metadata"] = {"type": "object"}
    _close(found)
    return found


def _close(value: Any) -> None:
    if isinstance(value, dict):
        kept = value.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(value.get("properties"), dict) and not kept:
            value.setdefault("additionalProperties", False)
        for below in value.values():
            _close(below)
    elif isinstance(value, list):
        for below in value:
            _close(below)
