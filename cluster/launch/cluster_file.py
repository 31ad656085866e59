"""A cluster's file: one of Ray's cluster launcher, or manifests for Kubernetes (KubeRay)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from configs.errors import NesyprError

Kind: TypeAlias = Literal["launcher", "kubernetes"]

PLACEHOLDERS = ("HEAD", "WORKER-1", "WORKER-2", "PROJECT", "REGISTRY")
"""What stands in the shipped files where only the user knows what belongs there."""


class ClusterFileError(NesyprError):
    """The cluster's file cannot be used as it is."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """A file's YAML documents; of the launcher always one."""

    path: Path
    kind: Kind
    documents: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a cluster's file: where, what it means and what to write instead."""

    where: str
    what: str
    remedy: str
    refused: bool = True

    @property
    def sentence(self) -> str:
        """For the terminal."""
        return f"{self.where}: {self.what}; {self.remedy}"


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a file and tell of which kind it is.

    Raises ClusterFileError: no such file, not YAML (with the line), or neither kind.
    """
    try:
        text = path.read_text(encoding="utf-8")
        documents = [found for found in yaml.safe_load_all(text) if found is not None]
    except OSError as error:
        raise ClusterFileError(
            f"{path} cannot be read: {error.strerror}; shipped ones are in configs/clusters/"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ClusterFileError(f"{path}{place}: not valid YAML ({reason})") from error
    if documents and all(isinstance(found, dict) and "kind" in found for found in documents):
        return ClusterFile(path, "kubernetes", tuple(documents))
    if len(documents) == 1 and isinstance(documents[0], dict) and "provider" in documents[0]:
        return ClusterFile(path, "launcher", tuple(documents))
    raise ClusterFileError(
        f"{path} is no cluster's file: one of Ray's launcher has `cluster_name` and `provider`, "
        "manifests for Kubernetes have `apiVersion` and `kind` (a run's YAML file is for "
        "`nesypr run`)"
    )


def strings(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a document with the dotted path to it."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from strings(below, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from strings(below, f"{where}.{number}")
    elif isinstance(value, str):
        yield where, value


def placeholders(document: dict[str, Any]) -> list[Finding]:
    """A finding for every place that still waits for the user's own value."""
    return [
        Finding(where, f"{text} is a placeholder", "write your own value there")
        for where, text in strings(document)
        if text.split("/")[0] in PLACEHOLDERS
    ]
