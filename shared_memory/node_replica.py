"""The replica of a node: one copy of the banks in shared memory, read by all its actors (ours).

Whoever refreshes and finds news in the log applies it for all, alone; who finds somebody at it
waits until what is wanted is published. A feeder's lock dies with it, and the next one finds what
it left `busy` and reads that domain anew. A reader looks into what it adopted at its last refresh;
that a procedure was seen again, or went, shows at once. Which procedures count is decided by each
reader with its own book version, at look-up time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.connection import call_all, where
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.log_end import END_OF_LOG, LogEnd, log_end
from shared_memory.node_bank import NodeBank
from shared_memory.node_folder import NodeFolder
from shared_memory.node_head import BankHead, DomainHead, read_head, write_head
from shared_memory.records import SIGNS, Sign
from shared_memory.replica import BankReplica, Replica
from shared_memory.replica_bank import ReplicaBank
from shared_memory.replica_feed import DomainFeed, follow

_logger = logging.getLogger(__name__)


def open_replica(
    client: redis.Redis,
    run: str,
    domains: Sequence[str],
    config: SharedMemoryConfig,
    actions: bool = False,
) -> Replica:
    """The node's replica, or the process's own: as configured, and where a node can have one."""
    if config.replica == "node":
        try:
            return NodeReplica(client, run, domains, config.bank, actions)
        except OSError as error:
            _logger.warning("no replica of the banks for the whole node: %s", error)
    return BankReplica(client, run, domains, config.bank, actions)


class NodeReplica(Replica):
    """This process's view of the node's copy of M+ and M-; `close` it, or end the process.

    `deadline_s` is how long another process may take to feed. Raises OSError where there is no
    place for it, and SharedMemoryError where that is not this user's alone.
    """

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        domains: Sequence[str],
        config: BankConfig,
        actions: bool = False,
        *,
        base: Path | None = None,
        deadline_s: float = 60.0,
    ) -> None:
        super().__init__(config)
        self._client = client
        self._actions = actions
        self._deadline_s = deadline_s
        kept = f"actions={actions} solid_after={config.solid_after}"
        self.folder = NodeFolder(where(client), run, kept, base=base)
        self._leave = weakref.finalize(self, self.folder.leave)
        keys = RunKeys(run)
        self._keys = {domain: keys.domain(domain) for domain in domains}
        self._published: dict[str, DomainHead] = {}  # while this process feeds
        self._positions = dict.fromkeys(domains, 0)
        self._banks: dict[str, dict[Sign, NodeBank]] = {
            domain: {
                sign: NodeBank(self._stem(domain, sign), BankHead(), actions) for sign in SIGNS
            }
            for domain in domains
        }

    def refresh(self) -> int:
        """See `Replica`."""
        if self.folder.left:
            raise SharedMemoryError("this replica was closed: open another one")
        with self._explained():
            applied = self._feed_where_behind()
            for domain in self._keys:
                self._adopt(domain)
        return applied

    def position(self, domain: str) -> int:
        """See `Replica`."""
        return self._positions[domain]

    def banks(self) -> Mapping[str, Mapping[Sign, ReplicaBank]]:
        """See `Replica`."""
        return self._banks

    def held_bytes(self) -> int:
        """Bytes of memory that all processes of the node have for it together."""
        return sum(512 * path.stat().st_blocks for path in self.folder.path.iterdir())

    def close(self) -> None:
        """Leave the folder; the last one removes it."""
        self._leave()

    def begin(self, feed: DomainFeed) -> None:
        """See `replica_feed.Keeper`."""
        head = self._published[feed.keys.name]
        write_head(self._head(feed.keys.name), dataclasses.replace(head, busy=True))

    def empty(self, feed: DomainFeed) -> Mapping[Sign, ReplicaBank]:
        """See `replica_feed.Keeper`."""
        return {
            sign: self._writable(feed.keys.name, sign, _head_of(bank).emptied())
            for sign, bank in feed.banks.items()
        }

    def done(self, feed: DomainFeed) -> None:
        """See `replica_feed.Keeper`."""
        before = self._published[feed.keys.name]
        heads = {sign: _head_of(bank) for sign, bank in feed.banks.items()}
        head = DomainHead(feed.position, feed.stamp, feed.epoch or b"", False, **heads)
        write_head(self._head(feed.keys.name), head)
        self._published[feed.keys.name] = head
        for sign, bank in feed.banks.items():
            changed = head.bank(sign).generations != before.bank(sign).generations
            if changed and isinstance(bank, NodeBank):
                bank.remove_outdated()

    def _feed_where_behind(self) -> int:
        """Have all news that the server has now applied: by this process or another."""
        heads = {domain: read_head(self._head(domain)) for domain in self._keys}
        questions = [("HMGET", keys.counters, *END_OF_LOG) for keys in self._keys.values()]
        wanted = {
            domain: log_end(reply)
            for domain, reply in zip(self._keys, call_all(self._client, questions), strict=True)
        }
        behind = [
            domain for domain, head in heads.items() if head.busy or head.end != wanted[domain]
        ]
        if not behind:
            return 0
        # What was published first can only be ahead where the server has lost something.
        ahead = any(heads[domain].position > wanted[domain].position for domain in behind)

        def done() -> bool:
            now = {domain: read_head(self._head(domain)) for domain in behind}
            return not ahead and all(
                not head.busy and _holds(head.end, wanted[domain]) for domain, head in now.items()
            )

        with self.folder.feeding(done, self._deadline_s) as mine:
            return self._feed(behind) if mine else 0

    def _feed(self, domains: Sequence[str]) -> int:
        feeds: list[DomainFeed] = []
        for domain in domains:
            self._published[domain] = head = read_head(self._head(domain))
            feeds.append(
                DomainFeed(
                    self._keys[domain],
                    {sign: self._writable(domain, sign, head.bank(sign)) for sign in SIGNS},
                    head.position,
                    head.stamp,
                    None if head.busy else head.epoch,
                )
            )
        followed = follow(self._client, feeds, self, self._config.solid_after)
        self.reloads += followed.reloads
        return followed.applied

    def _adopt(self, domain: str) -> None:
        """Look into what is published of a domain now."""
        deadline = time.monotonic() + self._deadline_s
        while True:
            head = read_head(self._head(domain))
            try:
                for sign, bank in self._banks[domain].items():
                    bank.adopt(head.bank(sign))
            except FileNotFoundError as error:  # a newer generation has come meanwhile
                if time.monotonic() > deadline:
                    raise SharedMemoryError(
                        f"files of the replica in {self.folder.path} are missing: end the "
                        "processes that use it, or set shared_memory.replica to process"
                    ) from error
                continue
            self._positions[domain] = head.position
            return

    def _writable(self, domain: str, sign: Sign, head: BankHead) -> NodeBank:
        return NodeBank(self._stem(domain, sign), head, self._actions, writable=True)

    def _head(self, domain: str) -> Path:
        return self.folder.path / f"{_short(domain)}.head"

    def _stem(self, domain: str, sign: Sign) -> Path:
        return self.folder.path / f"{_short(domain)}.{sign}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SharedMemoryError(
                f"{self.folder.path} cannot hold the node's replica ({error.strerror}): make room "
                "there (a container's --shm-size), or set shared_memory.replica to process"
            ) from error


def _holds(published: LogEnd, wanted: LogEnd) -> bool:
    """Whether what was published has all that was wanted."""
    return published == wanted or (
        published.epoch == wanted.epoch and published.position > wanted.position
    )


def _head_of(bank: ReplicaBank) -> BankHead:
    if not isinstance(bank, NodeBank):
        raise TypeError("a node's replica keeps a node's banks")
    return bank.head


def _short(domain: str) -> str:
    return hashlib.blake2b(domain.encode(), digest_size=8).hexdigest()
