"""What banks, replicas and look-ups should do, in plain Python: no server, no log, no tables."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared_memory.codec import entry_digest, pack_codes

Codes = tuple[int, ...]
Key = tuple[Codes, str]
"""An entry is its codes and its action."""


@dataclass(slots=True)
class ModelEntry:
    times: int
    refused: int
    version: int
    prompt: int
    score: float = 0.0


@dataclass(slots=True)
class ModelBank:
    """One of M+ and M-."""

    entries: dict[Key, ModelEntry] = field(default_factory=dict)
    procedures: dict[Codes, int] = field(default_factory=dict)  # last version
    submitted: int = 0
    admitted: int = 0
    retired: int = 0
    merged: int = 0
    imported: int = 0

    def drop(self, key: Key) -> ModelEntry:
        """Take an entry away, and its procedure with its last entry."""
        entry = self.entries.pop(key)
        if not any(codes == key[0] for codes, _ in self.entries):
            del self.procedures[key[0]]
        return entry

    def see(self, codes: Codes, version: int) -> None:
        """A procedure was seen with a version."""
        self.procedures[codes] = max(self.procedures.get(codes, 0), version)


def digest(key: Key) -> bytes:
    """The content digest of an entry."""
    return entry_digest(pack_codes(np.array(key[0], dtype=np.uint16)), key[1])


class BankModel:
    """Both banks of one domain, with one entry budget and retirement policy."""

    def __init__(self, most: int, policy: str) -> None:
        self.most = most
        self.policy = policy
        self.banks = (ModelBank(), ModelBank())
        self.episodes: set[int] = set()

    def push(
        self, episodes: Iterable[tuple[int, int, int, Sequence[tuple[Codes, str, bool, int]]]]
    ) -> tuple[int, int]:
        """Episodes (number, sign, version, decisions (codes, action, accepted, prompt)); how many
        were new, and how many had come before."""
        finished = doubled = 0
        fresh = [0, 0]
        for number, sign, version, decisions in episodes:
            if number in self.episodes:
                doubled += 1
                continue
            self.episodes.add(number)
            finished += 1
            for codes, action, accepted, prompt in decisions:
                fresh[sign] += self._submit(sign, (codes, action), version, not accepted, prompt)
        for sign in range(2):
            self._make_room(sign, fresh[sign])
        return finished, doubled

    def retire(self, min_version: int) -> int:
        """Drop all entries last seen before a version; how many."""
        gone = 0
        for bank in self.banks:
            old = [key for key, entry in bank.entries.items() if entry.version < min_version]
            for key in old:
                bank.drop(key)
            bank.retired += len(old)
            gone += len(old)
        return gone

    def stale(self, sign: int, version: int) -> list[Key]:
        """Entries that a version has not seen, longest unseen first."""
        entries = self.banks[sign].entries
        old = [key for key, entry in entries.items() if entry.version < version]
        return sorted(old, key=lambda key: (entries[key].version, digest(key)))

    def reencode(self, sign: int, version: int, new: dict[Key, Codes]) -> tuple[int, int, int]:
        """Move entries to the codes that a version gives to their prompts: same, moved, merged."""
        bank = self.banks[sign]
        moved = merged = 0
        leaving = []
        for key, codes in new.items():
            if codes == key[0]:
                bank.entries[key].version = version
                bank.see(codes, version)
                self._rank(sign, key)
            else:
                moved += 1
                leaving.append(((codes, key[1]), bank.drop(key)))
        for target, entry in leaving:
            there = bank.entries.get(target)
            entry.version = version
            if there is not None:
                merged += 1
                entry.times += there.times
                entry.refused += there.refused
                if there.version >= version:
                    entry.version, entry.prompt = there.version, there.prompt
            bank.entries[target] = entry
            bank.see(target[0], version)
            self._rank(sign, target)
        bank.merged += merged
        return len(new) - moved, moved, merged

    def import_own_file(self) -> None:
        """Take in what an export of these very banks holds."""
        for sign, bank in enumerate(self.banks):
            for key in sorted(bank.entries, key=digest):
                bank.entries[key].times *= 2
                bank.entries[key].refused *= 2
                self._rank(sign, key)

    def snapshot(self) -> tuple[ModelBank, ModelBank]:
        """What a replica should hold now."""
        return copy.deepcopy(self.banks)

    def _submit(self, sign: int, key: Key, version: int, refused: bool, prompt: int) -> bool:
        bank = self.banks[sign]
        bank.submitted += 1
        entry = bank.entries.get(key)
        fresh = entry is None
        if entry is None:
            entry = bank.entries[key] = ModelEntry(0, 0, version, prompt)
            bank.admitted += 1
        entry.times += 1
        entry.refused += refused
        entry.version = max(entry.version, version)
        bank.see(key[0], version)
        self._rank(sign, key)
        return fresh

    def _rank(self, sign: int, key: Key) -> None:
        mine, other = self.banks[sign].entries[key], self.banks[1 - sign].entries.get(key)
        mine.score = self._score(key, mine, other)
        if other is not None and self.policy == "worst_outcome":
            other.score = self._score(key, other, mine)

    def _score(self, key: Key, entry: ModelEntry, other: ModelEntry | None) -> float:
        if self.policy == "oldest":
            return entry.version
        if self.policy == "reservoir":
            return int.from_bytes(digest(key)[:6])
        if self.policy == "least_used":
            return entry.times * 2**31 + entry.version
        against = other.times if other is not None else 0
        share = (entry.times + 1) / (entry.times + against + 2)
        return int(share * 2**20) * 2**31 + entry.version

    def _make_room(self, sign: int, fresh: int) -> None:
        bank = self.banks[sign]
        over = len(bank.entries) - self.most
        if not fresh or over <= 0:
            return
        order = sorted(bank.entries, key=lambda key: (bank.entries[key].score, digest(key)))
        for key in order[:over]:
            bank.drop(key)
        bank.retired += over


def similarities(
    bank: ModelBank,
    query: npt.NDArray[np.uint16],
    vectors: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    born: npt.NDArray[np.int64],
    min_version: int,
) -> dict[Codes, float]:
    """The centred cosine of a query (n,) with each procedure that counts, in float64."""
    book, centre = vectors.astype(np.float64), mean.astype(np.float64)
    mine = (book[query] - centre).ravel()
    found: dict[Codes, float] = {}
    for codes, version in bank.procedures.items():
        if version < min_version or max(born[list(codes)]) > version:
            continue
        theirs = (book[list(codes)] - centre).ravel()
        lengths = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
        found[codes] = float(mine @ theirs) / lengths if lengths else 0.0
    return found
