"""The way to the server: one factory of clients, and errors that users understand.

Every command of this folder goes through `call`, `call_all` or an `AtomicScript`: these turn
what the client raises into a `SharedMemoryError`. Lost connections are retried with jitter (so
every write of this folder can be repeated without effect); a server at its memory limit is
waited for until a deadline (`push_back`).
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import redis
import redis.exceptions
import redis.sentinel
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from configs.addresses import redacted
from configs.schema import SharedMemoryConfig
from shared_memory.errors import ServerFullError, SharedMemoryError, TooFewCopiesError
from shared_memory.retrying import OneRetry
from shared_memory.sentinel_connections import primary_pool
from shared_memory.server_address import Place, Role, ServerAddress, parse_address
from shared_memory.server_clients import MOVING, ClusterClient, ServerClient
from shared_memory.server_errors import explained, where

__all__ = [
    "Argument",
    "AtomicScript",
    "blocking_slice",
    "call",
    "call_all",
    "connect",
    "explained",
    "members",
    "push_back",
    "redacted",
    "scanned",
    "where",
]

OLDEST_SERVER = (6, 2)
_FIRST_PATIENCE_S = 0.2
"""A wrong address should be told at once; later, more patience is due."""
_SCAN = 2000
_Result = TypeVar("_Result")
Argument = str | bytes | int | float


def connect(
    config: SharedMemoryConfig,
    url: str | None = None,
    role: Role = "driver",
    *,
    patience_s: float | None = None,
) -> ServerClient:
    """A client of the server at `url` (by default the configuration's), tried out.

    `url` has one of the forms of `server_address`; `role` chooses among the users of its file.
    `patience_s`: how long commands are tried again while the server is away, if not as
    configured. Refuses servers that are too old or that evict keys. Raises SharedMemoryError with
    a sentence where nothing answers, the address is wrong, or the server refuses us.
    """
    text = url if url is not None else config.url
    if text is None:
        raise SharedMemoryError(
            "shared_memory.url is not set: give the URL of a server, or start an EmbeddedServer"
        )
    address = parse_address(text, role)
    patience = config.patience_s if patience_s is None else patience_s
    client = _client(address, config, min(patience, _FIRST_PATIENCE_S))
    client.words = address.words
    client.copies = config.copies
    try:
        for node in client.nodes():
            _require_fit_server(client, node)
        client.set_retry(_retry(address, patience))
    except BaseException:
        client.close()
        raise
    return client


def _client(address: ServerAddress, config: SharedMemoryConfig, patience_s: float) -> ServerClient:
    """A client of any kind; nothing is sent yet."""
    retry = _retry(address, patience_s)
    settings: dict[str, Any] = {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        "health_check_interval": 15,
        **({} if address.tls is None else address.tls.settings()),
    }
    mine = {**settings, "db": address.database, "retry": retry, **address.login.settings()}
    if address.path is not None:
        del mine["socket_connect_timeout"]
        return _of_pool(mine, UnixDomainSocketConnection, path=address.path)
    kind: type[Connection] = Connection if address.tls is None else SSLConnection
    if address.kind == "standalone":
        host, port = address.places[0]
        return _of_pool(mine, kind, host=host, port=port)
    if address.kind == "cluster":
        node = {**mine, "retry": OneRetry(0.0)}
        return ClusterClient(
            address.places, lambda host, port: _of_pool(node, kind, host=host, port=port), retry
        )
    return _by_sentinels(address, settings, mine, kind)


def _by_sentinels(
    address: ServerAddress, settings: dict[str, Any], mine: dict[str, Any], kind: type[Connection]
) -> ServerClient:
    """A client of the primary that Sentinels name, whichever it is."""
    over_tls = {"ssl": True} if address.tls is not None else {}
    asking = {**settings, "retry": OneRetry(0.0), **address.sentinel_login.settings(), **over_tls}
    make: Callable[..., redis.sentinel.Sentinel] = redis.sentinel.Sentinel
    sentinel = make(address.places, sentinel_kwargs=asking)
    service = str(address.service)
    client = _from_pool(primary_pool(sentinel, service, kind, mine))
    client.closed_with = (sentinel,)
    primary: Callable[[str], Place] = sentinel.discover_master
    replicas: Callable[[str], list[Place]] = sentinel.discover_slaves

    def every_server() -> list[redis.Redis]:
        places = [primary(service), *replicas(service)]
        nodes = [_of_pool(mine, kind, host=host, port=port) for host, port in places]
        client.closed_with = (*client.closed_with, *nodes)
        return list(nodes)

    client.every_server = every_server
    return client


def _of_pool(settings: dict[str, Any], kind: type[Any], **place: Any) -> ServerClient:
    pool = redis.ConnectionPool(connection_class=kind, **settings, **place)
    return _from_pool(pool)


def _from_pool(pool: redis.ConnectionPool) -> ServerClient:
    client = ServerClient.from_pool(pool)  # which the client closes
    assert isinstance(client, ServerClient)
    return client


def _retry(address: ServerAddress, patience_s: float) -> OneRetry:
    return OneRetry(patience_s, MOVING if address.kind == "cluster" else ())


def _require_fit_server(client: ServerClient, node: redis.Redis) -> None:
    information = _information(client, node)
    version = str(information.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        raise SharedMemoryError(
            f"the server at {client.words} is Redis {version}; 6.2 or newer (or Valkey) is needed"
        )
    policy = str(information.get("maxmemory_policy", "noeviction"))
    if int(information.get("maxmemory", 0)) > 0 and policy != "noeviction":
        raise SharedMemoryError(
            f"the server at {client.words} has maxmemory-policy {policy} and would silently drop "
            "banks when it is full; set maxmemory-policy to noeviction"
        )


def _information(client: ServerClient, node: redis.Redis) -> dict[str, Any]:
    ask: Callable[..., Any] = node.execute_command
    with explained(client):
        found: dict[str, Any] = ask("INFO", "server", "memory")
    return found


def call(client: redis.Redis, *command: Argument) -> Any:
    """Run one command."""
    execute: Callable[..., Any] = client.execute_command
    with explained(client):
        return execute(*command)


def call_all(client: redis.Redis, commands: Sequence[Sequence[Argument]]) -> list[Any]:
    """Run several commands in one round trip (not as one transaction)."""
    if not commands:
        return []
    with explained(client), client.pipeline(transaction=False) as pipeline:
        execute: Callable[..., Any] = pipeline.execute_command
        for command in commands:
            execute(*command)
        return list(pipeline.execute())


def members(client: redis.Redis, key: str, command: str = "HSCAN") -> Iterator[tuple[bytes, bytes]]:
    """All (name, value) of a hash, or with ZSCAN (member, score) of a sorted set, each once.

    What is added or removed meanwhile may or may not be among them. Remembers all names; who keeps
    them anyhow takes `scanned`.
    """
    seen: set[bytes] = set()
    for name, value in scanned(client, key, command):
        if name not in seen:
            seen.add(name)
            yield name, value


def scanned(
    client: redis.Redis, key: str, command: str = "HSCAN", count: int = _SCAN
) -> Iterator[tuple[bytes, bytes]]:
    """As `members`, about `count` a reply, but some may come twice."""
    cursor: int | bytes = 0
    while True:
        cursor, found = call(client, command, key, cursor, "COUNT", count)
        yield from found.items() if isinstance(found, dict) else found
        if int(cursor) == 0:
            return


class AtomicScript:
    """A Lua script that the server runs as one step, sent in full only where it is not known.

    Where the client asks for copies, what a script wrote counts as done once so many replicas
    have it, but for scripts that are not `kept`.
    """

    def __init__(self, text: str, *, kept: bool = True) -> None:
        self.text = text
        self._kept = kept
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run the script; raises SharedMemoryError, and TooFewCopiesError."""
        execute: Callable[..., Any] = client.execute_command
        if self._kept and isinstance(client, ServerClient) and client.copies:
            execute = partial(_kept_by_replicas, client)
        with explained(client):
            try:
                return execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return execute("EVAL", self.text, len(keys), *keys, *arguments)


def _kept_by_replicas(client: ServerClient, *command: Argument) -> Any:
    """The reply to a command, once enough replicas have what it wrote."""
    wait_s = blocking_slice(client, client.copies_deadline_s)
    wait = ("WAIT", client.copies, max(1, int(1000 * wait_s)))
    reply, copies = client.send_together([command, wait])
    for found in (reply, copies):
        if isinstance(found, Exception):
            raise found
    if int(copies) < client.copies:
        raise TooFewCopiesError(
            f"only {int(copies)} replicas of the server at {where(client)} have what was written, "
            f"and shared_memory.copies asks for {client.copies}"
        )
    return reply


def push_back(action: Callable[[], _Result], deadline_s: float) -> _Result:
    """Do it; while the server is at its memory limit, or has too few replicas, wait with jitter
    and try again.

    Raises ServerFullError, or TooFewCopiesError, once the deadline has passed. Other errors pass
    through at once.
    """
    deadline = time.monotonic() + deadline_s
    pause = 0.02
    while True:
        try:
            return action()
        except (ServerFullError, TooFewCopiesError) as error:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise type(error)(f"{error} (waited {deadline_s:g} s)") from error
            time.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))
            pause = min(1.0, 2 * pause)


def blocking_slice(client: redis.Redis, wanted_s: float) -> float:
    """How long one blocking read may wait so that the client's own time-out does not strike."""
    timeout = client.connection_pool.connection_kwargs.get("socket_timeout") or 2.0
    return max(0.001, min(wanted_s, 1.0, timeout / 2))
