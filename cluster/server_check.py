"""`nesypr doctor --server URL`: may this server keep a run's shared memory?"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from cluster.doctor.check import Check
from configs.addresses import redacted
from configs.schema import SharedMemoryConfig
from shared_memory.connection import call, connect
from shared_memory.errors import SharedMemoryError
from shared_memory.server_clients import ServerClient

OLDEST_WITH_ROLES = (7, 0)
NAME = "server"


def check_server(memory: SharedMemoryConfig, url: str) -> Check:
    """It answers, is new enough, never evicts, keeps its data, and has the replicas asked for.

    Of a Cluster, all its primaries; the first thing that is wrong is told.
    """
    try:
        with closing(connect(memory, url)) as client:
            return _of_all(client, memory.copies)
    except SharedMemoryError as error:
        return Check(NAME, "broken", str(error), f"mend it, or the URL {redacted(url)}")


def _of_all(client: ServerClient, copies: int) -> Check:
    found: list[str] = []
    for node in client.nodes():
        information: dict[str, Any] = call(node, "INFO")
        flaw = _flaw(information, copies)
        if flaw is not None:
            return Check(
                NAME, "warning", f"{_name(information)} at {client.words} {flaw[0]}", flaw[1]
            )
        found.append(_name(information))
    return Check(NAME, "ok", f"{', '.join(dict.fromkeys(found))} at {client.words}")


def _name(information: dict[str, Any]) -> str:
    valkey = information.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {information.get('redis_version')}"


def _flaw(information: dict[str, Any], copies: int) -> tuple[str, str] | None:
    """What is wrong with a server, and what to do; None where nothing is."""
    version = str(information.get("redis_version", "0")).split(".")
    policy = information.get("maxmemory_policy")
    if not int(information.get("aof_enabled", 0)):
        return (
            "has no append-only file: what is acknowledged is lost when it dies",
            "set appendonly yes and appendfsync everysec",
        )
    if str(information.get("aof_last_write_status", "ok")) != "ok":
        return "cannot write its append-only file", "make room on its disk, or look at its log"
    if policy != "noeviction":
        return (
            f"has maxmemory-policy {policy}: with a limit it would drop banks",
            "set maxmemory-policy noeviction",
        )
    if not int(information.get("maxmemory", 0)):
        return (
            "has no memory limit: at the end of memory the kernel kills it",
            "set maxmemory to what the machine can spare: writers then wait, with an alarm",
        )
    if int(information.get("connected_slaves", 0)) < copies:
        return (
            f"has {information.get('connected_slaves', 0)} replicas, but shared_memory.copies = "
            f"{copies}: nothing could be written",
            "start replicas, or lower shared_memory.copies",
        )
    if tuple(int(part) for part in version[:2] if part.isdigit()) < OLDEST_WITH_ROLES:
        return "is too old for users by role", "take Redis 7.0 or newer, or Valkey"
    return None
