"""The clients that `connect` gives out: one server's, or a Cluster's behind the same face.

A Cluster's client sends each command to the node that holds its key, by the hash slot of the key,
which is the first word of the command that begins as all our keys do (`nesypr:{`). Keys of one
domain share a slot, so that scripts work as they are. Where a node is lost or the slots moved,
the layout is read again and the command repeated: every write of this folder may be.

redis-py's own `RedisCluster` is not used: it repeats without pauses, gives up while a failover is
under way, and asks the server for the keys of commands like XREADGROUP each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import redis
import redis.sentinel
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as NoAnswerError

from shared_memory.keys import PREFIX
from shared_memory.retrying import OneRetry
from shared_memory.server_address import Place

_KEY = f"{PREFIX}:{{"
_SLOTS = 16384
MOVING = (AskError, ClusterDownError, TryAgainError)
"""A Cluster's answers while slots move or a node is replaced; MovedError is one of the first."""
MakeNode: TypeAlias = Callable[[str, int], "redis.Redis"]
Command: TypeAlias = Sequence[Any]


class ServerClient(redis.Redis):
    """A client of one server (or of the primary that Sentinels name).

    `copies`: how many replicas must have what a script wrote before it counts as done; `words`
    tell where the server is.
    """

    words: str = ""
    copies: int = 0
    copies_deadline_s: float = 1.0
    closed_with: tuple[redis.Redis | redis.sentinel.Sentinel, ...] = ()
    """What is closed once this is."""
    every_server: Callable[[], Sequence[redis.Redis]] | None = None

    def nodes(self) -> Sequence[redis.Redis]:
        """Clients of all servers that hold data; of a Cluster there are several."""
        return (self,)

    def all_nodes(self) -> Sequence[redis.Redis]:
        """Clients of all servers, replicas too where they are known."""
        return (self,) if self.every_server is None else self.every_server()

    def send_together(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that are sent together, errors among them."""
        return _asked_together(self, commands)

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """As redis-py's; a wait that a failover cut short is begun anew."""
        execute: Callable[..., Any] = super().execute_command
        try:
            return execute(*command, **options)
        except ResponseError as error:
            if not str(error).startswith("UNBLOCKED"):
                raise
            return execute(*command, **options)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for other in self.closed_with:
            other.close()


class ClusterClient(ServerClient):
    """A client of a Cluster; `make_node` makes the client of one node, which must not retry."""

    def __init__(self, seeds: Sequence[Place], make_node: MakeNode, retry: OneRetry) -> None:
        self._make_node = make_node
        self._seeds = tuple(seeds)
        self._lock = threading.Lock()
        self._nodes: dict[Place, redis.Redis] = {}
        self._layout: tuple[tuple[int, int, Place], ...] = ()  # first slot, last slot, primary
        self._retry = retry
        self._answered = self._seeds[0]
        super().__init__(connection_pool=self._node(self._seeds[0]).connection_pool)

    def set_retry(self, retry: Any) -> None:
        """From now on try so hard."""
        self._retry = retry

    def nodes(self) -> Sequence[redis.Redis]:
        """Clients of all primaries."""
        return [self._node(place) for place in dict.fromkeys(p for *_, p in self._known_layout())]

    def all_nodes(self) -> list[redis.Redis]:
        """Clients of all nodes, replicas too."""
        slots = self._try(self._read_slots)
        places = dict.fromkeys(_place(node, asked) for asked, row in slots for node in row[2:])
        return [self._node(place) for place in places]

    def execute_command(self, *command: Any, **options: Any) -> Any:
        """Send a command to the node that has its key; without a key, to any primary."""
        return self._try(lambda: self._send(command))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Commands that are sent together, to each node its own."""
        if transaction:
            raise ValueError("transactions do not work on a Cluster: use a script")
        return ClusterPipeline(self)

    def close(self) -> None:
        """Close the connections to all nodes."""
        with self._lock:
            nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()
        super().close()

    def send_together(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, errors among them; each is sent where its key is, one without
        a key where the one before it went. Again while nodes are lost or slots move."""
        replies: list[Any] = self._try(lambda: self._all_replies(commands))
        return replies

    def send_anywhere(self, commands: Sequence[Command]) -> list[Any]:
        """As `send_together`, for commands that do not belong together: while a slot moves, each
        is sent to the node that has its key already."""

        def replies() -> list[Any]:
            found = self._replies(commands)
            for number, reply in enumerate(found):
                if isinstance(reply, MOVING):
                    found[number] = self._send(commands[number])
            return found

        found: list[Any] = self._try(replies)
        return found

    # -- the layout ----------------------------------------------------------------------------

    def _try(self, do: Callable[[], Any]) -> Any:
        return self._retry.call_with_retry(do, self._forget_layout)

    def _forget_layout(self, error: Exception) -> None:
        self._layout = ()

    def _send(self, command: Command) -> Any:
        key = _key_of(command)
        place = next(iter(self._primaries())) if key is None else self._primary(key)
        try:
            return _asked(self._node(place), command)
        except MovedError:
            raise
        except AskError as asked:  # this key has moved already, its slot has not
            node = self._node((asked.host, asked.port))
            reply = _asked_together(node, [("ASKING",), command])[1]
            if isinstance(reply, Exception):
                raise reply from asked
            return reply

    def _all_replies(self, commands: Sequence[Command]) -> list[Any]:
        replies = self._replies(commands)
        for reply in replies:
            if isinstance(reply, MOVING):
                raise reply
        return replies

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        groups: dict[Place, list[int]] = {}
        last = next(iter(self._primaries()))
        for number, command in enumerate(commands):
            key = _key_of(command)
            last = last if key is None else self._primary(key)
            groups.setdefault(last, []).append(number)
        replies: list[Any] = [None] * len(commands)
        for place, numbers in groups.items():
            found = _asked_together(self._node(place), [commands[number] for number in numbers])
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply
        return replies

    def _primary(self, key: str | bytes) -> Place:
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        for first, last, place in self._known_layout():
            if first <= slot <= last:
                return place
        raise ClusterDownError(f"no node of the Cluster serves hash slot {slot}")

    def _primaries(self) -> Iterator[Place]:
        yield from (place for *_, place in self._known_layout())

    def _known_layout(self) -> tuple[tuple[int, int, Place], ...]:
        layout = self._layout
        if not layout:
            rows = self._read_slots()
            layout = tuple((int(row[0]), int(row[1]), _place(row[2], at)) for at, row in rows)
            if not layout:
                raise ClusterDownError("no node of the Cluster serves any hash slot")
            self._layout = layout
        return layout

    def _read_slots(self) -> list[tuple[Place, list[Any]]]:
        """What the first node that answers says of all slots, and which it was."""
        lost: Exception | None = None
        for place in dict.fromkeys((self._answered, *self._seeds, *self._nodes)):
            try:
                rows = _asked(self._node(place), ("CLUSTER", "SLOTS"))
                self._answered = place
                return [(place, row) for row in rows]
            except (LostConnectionError, NoAnswerError, ClusterDownError) as error:
                lost = error
        raise lost or LostConnectionError("no node of the Cluster is known")

    def _node(self, place: Place) -> redis.Redis:
        with self._lock:
            node = self._nodes.get(place)
            if node is None:
                node = self._nodes[place] = self._make_node(*place)
            return node


class ClusterPipeline:
    """Collects commands; `execute` sends them."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._commands: list[Command] = []

    def __enter__(self) -> ClusterPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands = []

    def execute_command(self, *command: Any) -> ClusterPipeline:
        """Add a command."""
        self._commands.append(command)
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies; the first error is raised."""
        commands, self._commands = self._commands, []
        replies = self._client.send_anywhere(commands) if commands else []
        for reply in replies:
            if raise_on_error and isinstance(reply, Exception):
                raise reply
        return replies


def _key_of(command: Command) -> str | bytes | None:
    """The first of our keys in a command, not in what is written there."""
    first = 3 if command[0] in ("EVAL", "EVALSHA") else 1
    for word in command[first : first + 12]:
        if isinstance(word, str) and word.startswith(_KEY):
            return word
        if isinstance(word, bytes) and word.startswith(_KEY.encode()):
            return word
    return None


def _place(node: list[Any], asked: Place) -> Place:
    """Host and port of a node in the reply to CLUSTER SLOTS; no host: the one that was asked."""
    host = node[0]
    if isinstance(host, bytes):
        host = host.decode()
    return (host or asked[0]), int(node[1])


def _asked(client: redis.Redis, command: Command) -> Any:
    execute: Callable[..., Any] = client.execute_command
    return execute(*command)


def _asked_together(client: redis.Redis, commands: Sequence[Command]) -> list[Any]:
    """The replies to commands that are sent together, errors among them."""
    with client.pipeline(transaction=False) as pipeline:
        execute: Callable[..., Any] = pipeline.execute_command
        for command in commands:
            execute(*command)
        return list(pipeline.execute(raise_on_error=False))
