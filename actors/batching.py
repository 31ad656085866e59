"""Dynamic batching: which waiting requests are answered together, and when. No I/O.

As Ray Serve's and Triton's batchers: a batch starts when it is full, or when its oldest request
has waited `wait_s`. Besides **(ours)**, it starts at once when everybody who could still join it
waits already: actors act in lock-step and have one open request each, so that nobody else comes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from actors.errors import ActingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind may share a batch. Its `table` is whose askers could come to it."""

    table: Hashable
    how: Hashable = ()


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """A request that waits, of `size` decisions, since a moment of one monotonic clock."""

    asker: Hashable
    kind: Kind
    size: int
    since: float
    item: T


class Batcher(Generic[T]):
    """Requests come by `add` and go by `take`, each once; kinds take turns by their oldest.

    `most`: decisions in a batch. `askers(table)`: how many may have a request open there. Nothing
    grows: an asker has one request at a time.
    """

    def __init__(self, most: int, wait_s: float, askers: Callable[[Hashable], int]) -> None:
        self._most = most
        self._wait_s = wait_s
        self._askers = askers
        self._waiting: dict[Hashable, Waiting[T]] = {}  # by asker, in order of arrival

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, asker: Hashable, kind: Kind, size: int, item: T, now: float) -> None:
        """A request comes. Raises ActingError for a second one, or one that fits in no batch."""
        if asker in self._waiting:
            raise ActingError(f"{asker} asks again before its last request was answered")
        if size > self._most:
            raise ActingError(
                f"{asker} asks for {size} decisions at once, but acting.inference_batch = "
                f"{self._most}: raise it, or lower acting.episodes"
            )
        self._waiting[asker] = Waiting(asker, kind, size, now, item)

    def withdraw(self, asker: Hashable) -> T | None:
        """Forget the asker's request, if one waits; returns its item."""
        found = self._waiting.pop(asker, None)
        return None if found is None else found.item

    def due_in(self, now: float) -> float | None:
        """Seconds until the next batch is due, 0 where one is now; None while nobody waits."""
        return min((self._due_in(some, now) for some in self._by_kind().values()), default=None)

    def take(self, now: float) -> list[Waiting[T]]:
        """The batch that is due, of one kind, at most `most` decisions; nothing if none is."""
        for some in self._by_kind().values():
            if self._due_in(some, now) > 0.0:
                continue
            batch: list[Waiting[T]] = []
            room = self._most
            for request in some:
                if request.size > room:
                    break
                room -= request.size
                batch.append(request)
                del self._waiting[request.asker]
            return batch
        return []

    def _by_kind(self) -> dict[Kind, list[Waiting[T]]]:
        """Requests by kind; the kind whose oldest waits longest comes first."""
        found: dict[Kind, list[Waiting[T]]] = {}
        for request in self._waiting.values():
            found.setdefault(request.kind, []).append(request)
        return found

    def _due_in(self, some: list[Waiting[T]], now: float) -> float:
        oldest = some[0]
        here = sum(each.kind.table == oldest.kind.table for each in self._waiting.values())
        nobody_comes = here >= self._askers(oldest.kind.table)
        if nobody_comes or sum(each.size for each in some) >= self._most:
            return 0.0
        return max(0.0, oldest.since + self._wait_s - now)
