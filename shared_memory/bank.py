"""The shared banks M+ and M- of a run: written by all actors in atomic, deduplicated batches.

An entry is a procedure with its action (codes, action) in one of the two banks of its domain;
it is admitted once and counted as a duplicate ever after. Writing an episode counts it, admits
its procedures, tells the replicas and the driver, and asks the teacher for a plan, all in one
step of the server (NeSyPr's banks; the protocol is ours). A repeated or doubled episode changes
nothing, so that every write may be retried.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis

from configs.schema import BankConfig
from shared_memory.bank_scripts import PUSH, RETIRE
from shared_memory.bank_statistics import (
    BankStatistics,
    HeldEntry,
    held_entries,
    read_statistics,
)
from shared_memory.bank_verification import BankVerification, verify
from shared_memory.codec import encode
from shared_memory.connection import Argument, call, push_back
from shared_memory.episode_encoding import EpisodeEncoder
from shared_memory.errors import ServerFullError, SharedMemoryError
from shared_memory.keys import DomainKeys, RunKeys
from shared_memory.plain_values import text
from shared_memory.records import Episode, PlanRequest, Sign

LOG_BATCHES = 1000
"""Batches that the log keeps; a replica further behind reloads."""
LOG_BYTES = 16 * 2**20
"""Fewer batches are kept where so many take more bytes, by the mean of the last ones."""
_EPISODES_A_STEP = 64
_PROCEDURES_A_STEP = 4096
_RETIRED_A_STEP = 1000


@dataclass(frozen=True, slots=True)
class SignTotals:
    """What one push did to M+ or M-; submitted = admitted + duplicates."""

    submitted: int = 0
    admitted: int = 0
    duplicates: int = 0
    retired: int = 0

    def __add__(self, other: SignTotals) -> SignTotals:
        return SignTotals(
            self.submitted + other.submitted,
            self.admitted + other.admitted,
            self.duplicates + other.duplicates,
            self.retired + other.retired,
        )


@dataclass(frozen=True, slots=True)
class PushResult:
    """What one push did, as far as its own reply tells.

    A retry after a lost reply says `doubled` though the first try counted: the outcome log is
    the truth.
    """

    finished: int = 0  # episodes counted now
    doubled: int = 0  # episodes that had been counted before: without effect
    requested: int = 0  # plan requests that were new
    success: SignTotals = SignTotals()
    failure: SignTotals = SignTotals()
    waited_s: float = 0.0  # for a server at its memory limit

    @property
    def submitted(self) -> int:
        """Procedures submitted to either bank."""
        return self.success.submitted + self.failure.submitted

    @property
    def admitted(self) -> int:
        """Procedures admitted to either bank."""
        return self.success.admitted + self.failure.admitted

    @property
    def duplicates(self) -> int:
        """Procedures that a bank had already."""
        return self.success.duplicates + self.failure.duplicates

    @property
    def retired(self) -> int:
        """Entries that had to make room."""
        return self.success.retired + self.failure.retired

    def __add__(self, other: PushResult) -> PushResult:
        return PushResult(
            self.finished + other.finished,
            self.doubled + other.doubled,
            self.requested + other.requested,
            self.success + other.success,
            self.failure + other.failure,
            self.waited_s + other.waited_s,
        )


class Bank:
    """Writes to, and counts, the banks of one run.

    `deadline_s` is how long a write waits for a server at its memory limit.
    """

    def __init__(
        self, client: redis.Redis, run: str, config: BankConfig, *, deadline_s: float = 60.0
    ) -> None:
        self._client = client
        self._keys = RunKeys(run)
        self._config = config
        self._deadline_s = deadline_s
        self._known_domains: set[str] = set()
        self._encoder = EpisodeEncoder()
        self._waited_s = 0.0  # of the push that is going on

    def push(self, episodes: Sequence[Episode], requests: Sequence[PlanRequest] = ()) -> PushResult:
        """Write finished episodes and the plan requests that they cause.

        One atomic step for each domain (several where a batch is very large, whole episodes
        each). Counted once however often it is repeated: episodes by their number, requests by
        their task index. Raises SharedMemoryError, and ServerFullError past the deadline.
        """
        result, self._waited_s = PushResult(), 0.0
        domains = dict.fromkeys(episode.domain for episode in episodes)
        domains.update(dict.fromkeys(request.domain for request in requests))
        for domain in domains:
            keys = self._keys.domain(domain)
            self._register(domain)
            steps = list(_steps([episode for episode in episodes if episode.domain == domain]))
            asked = [request for request in requests if request.domain == domain]
            for position, step in enumerate(steps):
                last = position == len(steps) - 1
                result += self._push_step(keys, step, asked if last else ())
        return replace(result, waited_s=self._waited_s)

    def retire(self, min_version: int, *, deadline_s: float = 30.0) -> int:
        """Retire all entries last seen with a book version below `min_version`; how many.

        Done in small steps so that actors are served meanwhile; past the deadline it stops, and
        the next call goes on. Raises SharedMemoryError; ServerFullError or TooFewCopiesError where
        the server was so until the deadline.
        """
        deadline = time.monotonic() + deadline_s
        retired = 0
        for domain in self.domains():
            keys = self._keys.domain(domain)
            for number in (1, 2):  # M+, M-
                while time.monotonic() < deadline:
                    arguments = (
                        *step_arguments(0, self._config),
                        *(number, min_version, _RETIRED_A_STEP),
                    )
                    reply = push_back(
                        partial(RETIRE.run, self._client, step_keys(keys), arguments),
                        deadline - time.monotonic(),
                    )
                    if isinstance(reply, list):
                        refuse_unfit(reply, keys, 0, self._config)
                    step = int(reply)
                    retired += step
                    if step < _RETIRED_A_STEP:
                        break
        return retired

    def note_dropped(self, domains: Iterable[str]) -> None:
        """Count finished episodes that are not written, by their domains: they came too late."""
        for domain, number in Counter(domains).items():
            counters = self._keys.domain(domain).counters
            self._patiently(
                lambda: call(self._client, "HINCRBY", counters, "dropped", number)  # noqa: B023
            )

    def statistics(self) -> BankStatistics:
        """Totals of each bank and domain, from the counters that every write keeps."""
        return read_statistics(self._client, self._keys.run, self.domains())

    def verify(self) -> BankVerification:
        """Re-read every entry and compare with the counters: the closing account of a run."""
        return verify(self._client, self._keys.run, self.domains())

    def entries(self, domain: str, sign: Sign) -> Iterator[tuple[bytes, HeldEntry]]:
        """(key, entry) of everything in one bank, in no order."""
        return held_entries(self._client, self._keys.run, domain, sign)

    def domains(self) -> tuple[str, ...]:
        """Names of the domains that have a bank, sorted."""
        names = call(self._client, "SMEMBERS", self._keys.domains)
        return tuple(sorted(text(name, "the name of a domain") for name in names))

    def _register(self, domain: str) -> None:
        if domain not in self._known_domains:
            self._patiently(lambda: call(self._client, "SADD", self._keys.domains, domain))
            self._known_domains.add(domain)

    def _push_step(
        self, keys: DomainKeys, episodes: Sequence[Episode], requests: Sequence[PlanRequest]
    ) -> PushResult:
        where = (
            *step_keys(keys),
            *(keys.episodes, keys.requested, keys.outcomes, keys.plans),
        )
        left, doubled = list(episodes), 0
        while True:
            encoded = self._encoder.encode(left)
            arguments = [*step_arguments(encoded.width, self._config), doubled]
            arguments += encoded.origins
            arguments += encoded.episodes
            arguments.append(len(requests))
            for request in requests:
                arguments.extend((request.task_index, encode(request)))
            arguments += encoded.rows
            reply = self._patiently(partial(PUSH.run, self._client, where, arguments))
            if reply[0] != b"doubled":
                break
            known = {int(place) for place in reply[1]}  # counted before: nothing was done yet
            doubled += len(known)
            left = [episode for place, episode in enumerate(left) if place not in known]
        refuse_unfit(reply, keys, encoded.width, self._config)
        counts = [int(number) for number in reply]
        return PushResult(
            counts[0], counts[1], counts[2], SignTotals(*counts[3:7]), SignTotals(*counts[7:11])
        )

    def _patiently(self, write: Callable[[], Any]) -> Any:
        """Do it, and wait while the server is at its memory limit: how long is added up."""
        refused_at: list[float] = []

        def trial() -> Any:
            try:
                return write()
            except ServerFullError:
                refused_at.append(time.monotonic())
                raise

        reply = push_back(trial, self._deadline_s)
        if refused_at:
            self._waited_s += time.monotonic() - refused_at[0]
        return reply


def step_keys(keys: DomainKeys) -> tuple[str, ...]:
    """The keys that every step on a bank is told of."""
    return (keys.counters, keys.log, *keys.bank())


def step_arguments(width: int, config: BankConfig) -> list[Argument]:
    """What every step on a bank is told first."""
    return [
        *(width, config.max_entries, config.max_bytes, config.retirement, config.solid_after),
        *(LOG_BATCHES, LOG_BYTES, uuid.uuid4().hex),
    ]


def refuse_unfit(reply: list[Any], keys: DomainKeys, width: int, config: BankConfig) -> None:
    """Raise SharedMemoryError where a script refused to mix what does not go together."""
    if reply[0] == b"width":
        raise SharedMemoryError(
            f"the bank of {keys.name!r} in run {keys.run!r} holds procedures of "
            f"{int(reply[1]) // 2} codes, but these have {width // 2}: the model's memory or book "
            "width changed; start a new run"
        )
    if reply[0] == b"layout":
        raise SharedMemoryError(
            f"the bank of {keys.name!r} in run {keys.run!r} was begun by an earlier program, which "
            "kept it otherwise: export it with that program, start a new run, and import the file"
        )
    if reply[0] == b"solid_after":
        raise SharedMemoryError(
            f"the bank of {keys.name!r} in run {keys.run!r} was begun with "
            f"shared_memory.bank.solid_after = {reply[1].decode()}, not {config.solid_after}: keep "
            "that, or start a new run and import the bank's file"
        )
    if reply[0] == b"retirement":
        raise SharedMemoryError(
            f"the bank of {keys.name!r} in run {keys.run!r} was begun with "
            f"shared_memory.bank.retirement = {reply[1].decode()}, not {config.retirement}: keep "
            "that, or start a new run and import the bank's file"
        )


def _steps(episodes: Sequence[Episode]) -> Iterator[list[Episode]]:
    """Whole episodes in steps that keep the server busy for milliseconds only; at least one."""
    step: list[Episode] = []
    procedures = 0
    for episode in episodes:
        more = len(episode.decisions)
        if step and (len(step) == _EPISODES_A_STEP or procedures + more > _PROCEDURES_A_STEP):
            yield step
            step, procedures = [], 0
        step.append(episode)
        procedures += more
    yield step
