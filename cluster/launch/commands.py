"""`nesypr up CLUSTER.yaml` and `nesypr down`: look at the file, then let Ray or Kubernetes do it.

Nothing is sent by this program itself. Ray's launcher copies what the file's `file_mounts` name,
the token among it, over ssh; KubeRay makes a token of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.launch.cluster_file import ClusterFile, ClusterFileError, Finding, read_cluster_file
from cluster.launch.kubernetes_rules import check_manifests
from cluster.launch.launcher_rules import TOKEN_ON_HOSTS, check_launcher
from cluster.ray_token import MODE, ensure_token_file
from configs.errors import NesyprError

DEADLINE_S = 3600.0
"""Hosts of a cloud take minutes to come, and setting them up takes some more."""

Say = Callable[[str], None]


class LaunchError(NesyprError):
    """A program that launching needs is missing, or it did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Options of the command line."""

    yes: bool = False
    check_only: bool = False


def up(path: Path, wishes: Wishes, say: Say) -> None:
    """Start (or mend) the cluster of a file, or only look at the file.

    Raises ClusterFileError where the file is wrong, LaunchError where launching fails,
    RayTokenError where Ray's token cannot be kept.
    """
    file = read_cluster_file(path)
    _judge(file, say)
    if wishes.check_only:
        say(f"{path} is fine")
    elif file.kind == "kubernetes":
        _run([_program("kubectl"), "apply", "-f", str(path)], {}, "kubectl apply")
        say("watch it come: kubectl get rayclusters,rayjobs,pods")
    else:
        _launch(file, wishes, say)


def down(path: Path, wishes: Wishes, confirm: Callable[[str], bool], say: Say) -> None:
    """Stop the cluster of a file. Its banks' server is no part of it and stays.

    Raises ClusterFileError, LaunchError.
    """
    file = read_cluster_file(path)
    if file.kind == "kubernetes":
        named = [f"{each['kind']} {each['metadata']['name']}" for each in file.documents]
        disks = [name for name in named if name.startswith("PersistentVolumeClaim")]
        question = f"delete {', '.join(named)}" + (" with all that is on it" if disks else "")
        if not wishes.yes and not confirm(f"{question}?"):
            say("nothing was done")
            return
        _run([_program("kubectl"), "delete", "-f", str(path)], {}, "kubectl delete")
        return
    command = [_ray(), "down", str(path), *(["--yes"] if wishes.yes else [])]
    _run(command, _environment(), "ray down")


def findings(file: ClusterFile, folder: Path) -> list[Finding]:
    """What is wrong in a file; `folder` is where its relative paths begin."""
    if file.kind == "kubernetes":
        return check_manifests(file.documents)
    return check_launcher(file.documents[0], folder)


def _judge(file: ClusterFile, say: Say) -> None:
    """Tell the warnings, and raise ClusterFileError with the first thing that is refused."""
    found = findings(file, Path.cwd())
    for finding in found:
        if not finding.refused:
            say(f"warning: {finding.sentence}")
    refused = [finding for finding in found if finding.refused]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise ClusterFileError(f"{file.path}: {refused[0].sentence}{more}")


def _launch(file: ClusterFile, wishes: Wishes, say: Say) -> None:
    """`ray up`, with a token that is there before it is to be copied."""
    for program in ("ssh", "rsync"):
        _program(program)
    config = file.documents[0]
    token, made = ensure_token_file(os.environ)
    say(f"Ray's token {'was made' if made else 'is'} in {token}: who has it can run code there")
    mounted = (config.get("file_mounts") or {}).get(TOKEN_ON_HOSTS)
    if mounted is not None and Path(str(mounted)).expanduser() != token:
        raise ClusterFileError(
            f"{file.path}: file_mounts.{TOKEN_ON_HOSTS} copies {mounted}, but Ray's token here is "
            f"{token}: name that one"
        )
    command = [_ray(), "up", str(file.path), "--disable-usage-stats"]
    _run([*command, *(["--yes"] if wishes.yes else [])], _environment(), "ray up")
    for line in _next_steps(config, file.path):
        say(line)


def _next_steps(config: Mapping[str, Any], path: Path) -> list[str]:
    """What to type now."""
    head = config["provider"].get("head_ip", "HEAD")
    folder = next((key for key in config.get("file_mounts", {}) if key.endswith("/cluster")), "")
    place = folder.removesuffix("/cluster") or "the repository"
    return [
        f"a shell on the head:  ray attach {path}",
        f"there, in {place}:  nesypr doctor --address {head}:6379",
        "and then:  nesypr run larger --address auto --set shared_memory.url=redis://SERVER:6380",
        f"Ray's page, over ssh:  ray dashboard {path}",
    ]


def _environment() -> dict[str, str]:
    return {MODE: "token", "RAY_USAGE_STATS_ENABLED": "0"}


def _ray() -> str:
    """Ray's command line of this environment."""
    beside = Path(sys.executable).with_name("ray")
    return str(beside) if beside.exists() else _program("ray")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LaunchError(
            f"{name} is not installed on this machine: on Debian, apt-get install "
            f"{'openssh-client' if name == 'ssh' else name}"
        )
    return found


def _run(command: Sequence[str], environment: Mapping[str, str], name: str) -> None:
    """Run a launcher in the terminal of this program. Raises LaunchError where it fails."""
    try:
        ended = subprocess.run(
            command, env={**os.environ, **environment}, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(
            f"{name} was not done after {DEADLINE_S / 60:.0f} minutes and was stopped: what it "
            "said last is above; the same command goes on where it stood"
        ) from error
    if ended.returncode != 0:
        raise LaunchError(
            f"{name} ended with code {ended.returncode}: what it said is above; mend that and "
            "repeat the command, which goes on where it stood"
        )
