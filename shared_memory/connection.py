"""The way to the server: one connection with its own retries, and errors that users understand.

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
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.exceptions

from configs.schema import SharedMemoryConfig
from shared_memory.errors import ServerFullError, SharedMemoryError
from shared_memory.retrying import OneRetry

SCHEMES = ("redis", "rediss", "unix")
OLDEST_SERVER = (6, 2)
_FIRST_RETRIES = 2
"""A wrong address should be told at once; later, more patience is due."""
_SCAN = 2000
_Result = TypeVar("_Result")
Argument = str | bytes | int | float


def connect(config: SharedMemoryConfig, url: str | None = None) -> redis.Redis:
    """A connection to the server at `url` (by default the configuration's), tried out.

    Refuses servers that are too old or that evict keys. Raises SharedMemoryError with a sentence
    where nothing answers, the address is wrong, or the server refuses us.
    """
    address = url if url is not None else config.url
    if address is None:
        raise SharedMemoryError(
            "shared_memory.url is not set: give the URL of a server, or start an EmbeddedServer"
        )
    if urlsplit(address).scheme not in SCHEMES:
        raise SharedMemoryError(
            f"shared_memory.url {redacted(address)!r} is not understood: it must start with "
            + ", ".join(f"{scheme}://" for scheme in SCHEMES)
        )
    try:
        client = redis.Redis.from_url(
            address,
            protocol=2,
            decode_responses=False,
            socket_timeout=config.timeout_s,
            socket_connect_timeout=config.timeout_s,
            health_check_interval=15,
            retry=OneRetry(min(config.retries, _FIRST_RETRIES)),
        )
    except (ValueError, TypeError) as error:
        raise SharedMemoryError(
            f"shared_memory.url {redacted(address)!r} is not understood: {error}"
        ) from error
    try:
        _require_fit_server(client, address)
        client.set_retry(OneRetry(config.retries))
    except BaseException:
        client.close()
        raise
    return client


def redacted(url: str) -> str:
    """The URL without its password, for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def _require_fit_server(client: redis.Redis, url: str) -> None:
    information = call(client, "INFO", "server", "memory")
    version = str(information.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        raise SharedMemoryError(
            f"the server at {redacted(url)} is Redis {version}; 6.2 or newer (or Valkey) is needed"
        )
    policy = str(information.get("maxmemory_policy", "noeviction"))
    if int(information.get("maxmemory", 0)) > 0 and policy != "noeviction":
        raise SharedMemoryError(
            f"the server at {redacted(url)} has maxmemory-policy {policy} and would silently drop "
            "banks when it is full; set maxmemory-policy to noeviction"
        )


def where(client: redis.Redis) -> str:
    """The server's address, for messages."""
    settings = client.connection_pool.connection_kwargs
    if "path" in settings:
        return f"unix://{settings['path']}"
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


@contextmanager
def explained(client: redis.Redis) -> Iterator[None]:
    """Turn what the client raises inside into a SharedMemoryError that says what to do."""
    errors = redis.exceptions
    try:
        yield
    except errors.OutOfMemoryError as error:
        raise ServerFullError(
            f"the server at {where(client)} is at its memory limit: raise its maxmemory, or lower "
            "shared_memory.bank.max_entries"
        ) from error
    except (errors.AuthenticationError, errors.AuthenticationWrongNumberOfArgsError) as error:
        if "required" in str(error).lower():
            raise SharedMemoryError(
                f"the server at {where(client)} wants a password: put it into "
                "shared_memory.url, as redis://USER:PASSWORD@HOST:PORT"
            ) from error
        raise SharedMemoryError(
            f"the server at {where(client)} refuses the user or password in "
            f"shared_memory.url: {error}"
        ) from error
    except (errors.NoPermissionError, errors.AuthorizationError) as error:
        raise SharedMemoryError(
            f"the server at {where(client)} does not permit this to its user: {error}"
        ) from error
    except errors.BusyLoadingError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} is still loading its files; try again in a moment"
        ) from error
    except errors.ReadOnlyError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} is a read-only replica: "
            "shared_memory.url must name the primary"
        ) from error
    except errors.TimeoutError as error:
        raise SharedMemoryError(
            f"the server at {where(client)} did not answer within shared_memory.timeout_s: {error}"
        ) from error
    except errors.ConnectionError as error:
        raise SharedMemoryError(
            f"no server answers at {where(client)} ({error}): start it or correct "
            "shared_memory.url; without a URL the run starts its own server"
        ) from error
    except errors.ResponseError as error:
        if str(error).startswith("MISCONF"):
            raise SharedMemoryError(
                f"the server at {where(client)} cannot write its files (is the disk full?): {error}"
            ) from error
        raise SharedMemoryError(f"the server at {where(client)} refused: {error}") from error
    except errors.InvalidResponse as error:
        raise SharedMemoryError(
            f"what answers at {where(client)} is no Redis server ({error}): correct "
            "shared_memory.url"
        ) from error
    except errors.RedisError as error:
        raise SharedMemoryError(f"shared memory at {where(client)} failed: {error}") from error


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

    What is added or removed meanwhile may or may not be among them.
    """
    seen: set[bytes] = set()
    cursor: int | bytes = 0
    while True:
        cursor, found = call(client, command, key, cursor, "COUNT", _SCAN)
        for name, value in found.items() if isinstance(found, dict) else found:
            if name not in seen:
                seen.add(name)
                yield name, value
        if int(cursor) == 0:
            return


class AtomicScript:
    """A Lua script that the server runs as one step, sent in full only where it is not known."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: redis.Redis, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run the script; raises SharedMemoryError."""
        execute: Callable[..., Any] = client.execute_command
        with explained(client):
            try:
                return execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return execute("EVAL", self.text, len(keys), *keys, *arguments)


def push_back(action: Callable[[], _Result], deadline_s: float) -> _Result:
    """Do it; while the server is at its memory limit, wait with jitter and try again.

    Raises ServerFullError once the deadline has passed. Other errors pass through at once.
    """
    deadline = time.monotonic() + deadline_s
    pause = 0.02
    while True:
        try:
            return action()
        except ServerFullError as error:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ServerFullError(f"{error} (waited {deadline_s:g} s)") from error
            time.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))
            pause = min(1.0, 2 * pause)


def blocking_slice(client: redis.Redis, wanted_s: float) -> float:
    """How long one blocking read may wait so that the client's own time-out does not strike."""
    timeout = client.connection_pool.connection_kwargs.get("socket_timeout") or 2.0
    return max(0.001, min(wanted_s, 1.0, timeout / 2))
