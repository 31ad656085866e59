"""A replica of the banks: what actors ask, and the one that a process keeps for itself.

`refresh` reads what the log has since last time; where it has been trimmed past that, or the
server lost its data, the replica reloads. A look-up never touches the server. The replica holds
each procedure (distinct codes) once, with the last version that saw it, and, where they are asked
for, the actions that were tried with it. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import redis

from configs.schema import BankConfig
from shared_memory.book import Book, Codebatch
from shared_memory.errors import SharedMemoryError
from shared_memory.faiss_scan import require_faiss
from shared_memory.keys import RunKeys
from shared_memory.lookup import Inquiry, Neighbours, Scanner, search
from shared_memory.records import SIGNS, Sign
from shared_memory.replica_bank import ReplicaBank
from shared_memory.replica_feed import DomainFeed, follow
from shared_memory.tried import Counts

Scope = Literal["domain", "all"]
"""Whose procedures are near a decision: its own domain's, or all domains'."""


class Replica:
    """Copies of M+ and M- of some domains of a run, to be asked; `refresh` before that."""

    def __init__(self, config: BankConfig) -> None:
        if config.lookup == "faiss":
            require_faiss()
        self._config = config
        self._book: Book | None = None
        self.reloads = 0
        """How often this process read a domain in full."""

    def refresh(self) -> int:
        """Follow the log of all domains; returns how many of its batches this process applied.

        A reload counts as one. Raises SharedMemoryError where the server fails or the log is
        damaged.
        """
        raise NotImplementedError

    def position(self, domain: str) -> int:
        """Number of the last batch of the domain's log that was applied."""
        raise NotImplementedError

    def banks(self) -> Mapping[str, Mapping[Sign, ReplicaBank]]:
        """Both banks of each domain, as of the last refresh."""
        raise NotImplementedError

    def held_bytes(self) -> int:
        """Bytes of memory that the banks take."""
        return sum(bank.held_bytes for banks in self.banks().values() for bank in banks.values())

    def close(self) -> None:
        """Give the banks up."""

    def lookup(
        self,
        domain: str,
        sign: Sign,
        codes: Codebatch,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        code_born: npt.NDArray[np.integer],
        min_version: int,
        nearest: int,
        threshold: float,
    ) -> list[Neighbours]:
        """The nearest procedures of one bank to each decision's.

        codes (B, n) uint16, the decisions' procedures; code_vectors (K, d); mean (n, d), the
        running mean of procedures; code_born (K,), the version at which a code last changed its
        meaning. A procedure counts where its last version is at least `min_version` and none of
        its codes was born after it. Similarity is cos(R - mean, P - mean), exact; at most
        `nearest` with similarity >= `threshold` are returned for each decision, best first.
        """
        found = self.lookup_batch(
            [domain] * codes.shape[0],
            [sign],
            codes,
            code_vectors,
            mean,
            code_born,
            min_version,
            nearest,
            threshold,
        )
        return found[sign]

    def lookup_batch(
        self,
        domains: Sequence[str],
        signs: Sequence[Sign],
        codes: Codebatch,
        code_vectors: npt.NDArray[np.floating],
        mean: npt.NDArray[np.floating],
        code_born: npt.NDArray[np.integer],
        min_version: int,
        nearest: int,
        threshold: float,
        scope: Scope = "domain",
    ) -> dict[Sign, list[Neighbours]]:
        """As `lookup`, for decisions of several domains (B,) and the banks of several signs.

        With the scope "all", each decision asks the banks of all domains.
        """
        for domain in dict.fromkeys(domains):
            self._followed(domain)
        if self._book is None or not self._book.is_same(code_vectors, mean, code_born):
            self._book = Book(code_vectors, mean, code_born)
        return search_banks(
            self.banks(),
            self._book,
            domains,
            signs,
            codes,
            min_version,
            nearest,
            threshold,
            self._config.lookup,
            scope,
        )

    def tried(
        self,
        domain: str,
        sign: Sign,
        codes: Codebatch,
        code_born: npt.NDArray[np.integer],
        min_version: int,
    ) -> list[Mapping[str, Counts]]:
        """Of one bank, what was tried with each of the procedures `codes` (B, n), and how often.

        The very same codes only; validity as in `lookup`.
        """
        bank = self._followed(domain)[sign]
        return bank.tried_with(codes, code_born.astype(np.int64), min_version)

    def sizes(self) -> dict[tuple[str, Sign], int]:
        """Procedures held of each domain and sign."""
        return {
            (domain, sign): len(banks[sign])
            for domain, banks in self.banks().items()
            for sign in SIGNS
        }

    def _followed(self, domain: str) -> Mapping[Sign, ReplicaBank]:
        banks = self.banks().get(domain)
        if banks is None:
            raise SharedMemoryError(
                f"this replica does not follow the domain {domain!r} but {sorted(self.banks())}"
            )
        return banks


class BankReplica(Replica):
    """A replica in this process's own memory.

    Call `refresh` between episodes (one round trip where nothing is new). With `actions` it
    keeps what was tried with each procedure, too.
    """

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        domains: Sequence[str],
        config: BankConfig,
        actions: bool = False,
    ) -> None:
        super().__init__(config)
        self._client = client
        self._actions = actions
        keys = RunKeys(run)
        self._feeds = {domain: DomainFeed(keys.domain(domain), self._empty()) for domain in domains}

    def refresh(self) -> int:
        """See `Replica`."""
        followed = follow(self._client, list(self._feeds.values()), self, self._config.solid_after)
        self.reloads += followed.reloads
        return followed.applied

    def position(self, domain: str) -> int:
        """See `Replica`."""
        return self._feeds[domain].position

    def banks(self) -> Mapping[str, Mapping[Sign, ReplicaBank]]:
        """See `Replica`."""
        return {domain: feed.banks for domain, feed in self._feeds.items()}

    def begin(self, feed: DomainFeed) -> None:
        """See `replica_feed.Keeper`: nobody else looks."""

    def empty(self, feed: DomainFeed) -> Mapping[Sign, ReplicaBank]:
        """See `replica_feed.Keeper`."""
        return self._empty()

    def done(self, feed: DomainFeed) -> None:
        """See `replica_feed.Keeper`: nobody else looks."""

    def _empty(self) -> dict[Sign, ReplicaBank]:
        return {sign: ReplicaBank(self._actions) for sign in SIGNS}


def search_banks(
    banks: Mapping[str, Mapping[Sign, ReplicaBank]],
    book: Book,
    domains: Sequence[str],
    signs: Sequence[Sign],
    codes: Codebatch,
    min_version: int,
    nearest: int,
    threshold: float,
    scanner: Scanner = "numpy",
    scope: Scope = "domain",
) -> dict[Sign, list[Neighbours]]:
    """For each sign and decision (B, n) the nearest procedures of the banks in its scope."""
    names = np.asarray(domains)
    everyone = np.arange(codes.shape[0])
    inquiries = [
        Inquiry(bank, everyone if scope == "all" else np.flatnonzero(names == name), answer)
        for name in (banks if scope == "all" else dict.fromkeys(domains))
        for answer, sign in enumerate(signs)
        if len(bank := banks[name][sign])
    ]
    for inquiry in inquiries:
        if inquiry.bank.rows.shape[1] != book.chunks:
            raise SharedMemoryError(
                f"the bank holds procedures of {inquiry.bank.rows.shape[1]} codes, but the book "
                f"has {book.chunks} chunks: they belong to different models"
            )
    found = search(book, codes, inquiries, len(signs), min_version, nearest, threshold, scanner)
    return dict(zip(signs, found, strict=True))
