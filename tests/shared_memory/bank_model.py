"""What banks, replicas and look-ups should do, in plain Python: no server, no log, no tables."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared_memory.codec import entry_key, pack_codes

Codes = tuple[int, ...]
Key = tuple[Codes, str]
"""An entry is its codes and its action."""


@dataclass(slots=True)
class ModelEntry:
    times: int
    refused: int
    version: int
    prompt: int
    origin: int  # its episode
    score: tuple[float, ...] = ()
    filed: tuple[int, int] = (-1, 0)  # version, and how many had been filed before


@dataclass(slots=True)
class ModelBank:
    """One of M+ and M-."""

    solid_after: int
    entries: dict[Key, ModelEntry] = field(default_factory=dict)
    procedures: dict[Codes, int] = field(default_factory=dict)  # last version
    submitted: int = 0
    admitted: int = 0
    retired: int = 0
    merged: int = 0

    def drop(self, key: Key) -> ModelEntry:
        """Take an entry away, and its procedure with its last entry."""
        entry = self.entries.pop(key)
        if not any(codes == key[0] for codes, _ in self.entries):
            del self.procedures[key[0]]
        return entry

    def see(self, codes: Codes, version: int) -> None:
        """A procedure was seen with a version."""
        self.procedures[codes] = max(self.procedures.get(codes, 0), version)

    def solid(self) -> dict[Key, ModelEntry]:
        """Entries that count in look-ups."""
        return {key: each for key, each in self.entries.items() if each.times >= self.solid_after}


def key_of(key: Key) -> bytes:
    """An entry's key on the server."""
    return entry_key(pack_codes(np.array(key[0], dtype=np.uint16)), key[1])


Pushed = tuple[int, int, int, Sequence[tuple[Codes, str, bool, int]]]
"""An episode: number, sign, version, decisions (codes, action, accepted, prompt)."""


class BankModel:
    """Both banks of one domain, with their budgets and retirement policy.

    `origin_bytes` says what an episode of a sign takes with its prompts, one after another.
    """

    def __init__(
        self,
        most: int,
        most_bytes: int,
        policy: str,
        solid_after: int,
        origin_bytes: Callable[[int, int, Sequence[int]], int],
    ) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.policy = policy
        self.solid_after = solid_after
        self.origin_bytes = origin_bytes
        self.banks = (ModelBank(solid_after), ModelBank(solid_after))
        self.episodes: set[int] = set()
        self.origins: dict[int, int] = {}  # bytes
        self.filings = 0

    def like_new(self) -> BankModel:
        """Empty, with the same settings."""
        return BankModel(
            self.most, self.most_bytes, self.policy, self.solid_after, self.origin_bytes
        )

    def push(self, episodes: Iterable[Pushed]) -> tuple[int, int]:
        """Write episodes; how many were new, and how many had come before."""
        finished = doubled = 0
        fresh = [0, 0]
        touched: tuple[dict[Key, None], dict[Key, None]] = ({}, {})
        for number, sign, version, decisions in episodes:
            if number in self.episodes:
                doubled += 1
                continue
            self.episodes.add(number)
            finished += 1
            prompts = [prompt for *_, prompt in decisions]
            self.origins[number] = self.origin_bytes(number, sign, prompts)
            for codes, action, accepted, prompt in decisions:
                key = codes, action
                touched[sign][key] = None
                fresh[sign] += self._submit(sign, key, version, not accepted, prompt, number)
        for sign in range(2):
            self._file(sign, touched[sign])
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
        return sorted(old, key=lambda key: entries[key].filed)

    def reencode(self, sign: int, version: int, new: dict[Key, Codes]) -> tuple[int, int, int]:
        """Move entries to the codes that a version gives to their prompts: same, moved, merged."""
        bank = self.banks[sign]
        moved = merged = 0
        leaving = []
        touched: dict[Key, None] = {}
        for key, codes in new.items():
            touched[key] = None
            if codes == key[0]:
                bank.entries[key].version = version
                bank.see(codes, version)
            else:
                moved += 1
                leaving.append(((codes, key[1]), bank.drop(key)))
        for target, entry in leaving:
            touched[target] = None
            there = bank.entries.get(target)
            entry.version, entry.filed = version, (-1, 0)
            if there is not None:
                merged += 1
                entry.times += there.times
                entry.refused += there.refused
                if there.version >= version:
                    entry.version, entry.prompt = there.version, there.prompt
                    entry.filed, entry.origin = there.filed, there.origin
            bank.entries[target] = entry
            bank.see(target[0], version)
        self._file(sign, touched)
        bank.merged += merged
        return len(new) - moved, moved, merged

    def import_own_file(self) -> None:
        """Take in what an export of these very banks holds."""
        for sign, bank in enumerate(self.banks):
            for entry in bank.entries.values():
                entry.times *= 2
                entry.refused *= 2
            self._file(sign, bank.entries)

    def restore_own_file(self) -> None:
        """Take in what an export of these very banks holds, of each count the larger."""
        for sign, bank in enumerate(self.banks):
            self._file(sign, bank.entries)

    def snapshot(self) -> tuple[ModelBank, ModelBank]:
        """What a replica should hold now."""
        return copy.deepcopy(self.banks)

    def bytes(self, sign: int) -> int:
        """What a bank takes of its budget."""
        bank = self.banks[sign]
        return (
            sum(len(key_of(key)) + 51 for key in bank.entries)
            + sum(16 + 24 + 12 + 2 * len(codes) for codes in bank.procedures)
            + sum(self.origins[each] for each in {e.origin for e in bank.entries.values()})
        )

    def _submit(
        self, sign: int, key: Key, version: int, refused: bool, prompt: int, episode: int
    ) -> bool:
        bank = self.banks[sign]
        bank.submitted += 1
        entry = bank.entries.get(key)
        fresh = entry is None
        if entry is None:
            entry = bank.entries[key] = ModelEntry(0, 0, version, prompt, episode)
            bank.admitted += 1
        entry.times += 1
        entry.refused += refused
        entry.version = max(entry.version, version)
        bank.see(key[0], version)
        return fresh

    def _file(self, sign: int, keys: Iterable[Key]) -> None:
        """Entries that were touched take their place in the order of what goes first."""
        for key in keys:
            mine, other = self.banks[sign].entries.get(key), self.banks[1 - sign].entries.get(key)
            if mine is None:
                continue
            if mine.filed[0] != mine.version:
                self.filings += 1
                mine.filed = (mine.version, self.filings)
            mine.score = self._score(key, mine, other)
            if other is not None and self.policy == "worst_outcome":
                other.score = self._score(key, other, mine)

    def _score(self, key: Key, entry: ModelEntry, other: ModelEntry | None) -> tuple[float, ...]:
        if self.policy == "oldest":
            return entry.filed
        if self.policy == "reservoir":
            drawn = hashlib.sha1(key_of(key), usedforsecurity=False).digest()
            return (int.from_bytes(drawn[:6]),)
        if self.policy == "least_used":
            return entry.times, entry.version
        against = other.times if other is not None else 0
        share = (entry.times + 1) / (entry.times + against + 2)
        return int(share * 2**20), entry.version

    def _make_room(self, sign: int, fresh: int) -> None:
        bank = self.banks[sign]
        if not fresh:
            return
        order = sorted(bank.entries, key=lambda key: (bank.entries[key].score, key_of(key)))
        for key in order:
            if len(bank.entries) <= self.most and self.bytes(sign) <= self.most_bytes:
                return
            bank.drop(key)
            bank.retired += 1


def similarities(
    bank: ModelBank,
    query: npt.NDArray[np.uint16],
    vectors: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    born: npt.NDArray[np.int64],
    min_version: int,
) -> dict[Codes, float]:
    """The centred cosine of a query (n,) with each procedure that counts, in float64."""
    solid = {codes for codes, _ in bank.solid()}
    book, centre = vectors.astype(np.float64), mean.astype(np.float64)
    mine = (book[query] - centre).ravel()
    found: dict[Codes, float] = {}
    for codes, version in bank.procedures.items():
        if codes not in solid or version < min_version or max(born[list(codes)]) > version:
            continue
        theirs = (book[list(codes)] - centre).ravel()
        lengths = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
        found[codes] = float(mine @ theirs) / lengths if lengths else 0.0
    return found
