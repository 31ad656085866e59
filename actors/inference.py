"""What runs inside an inference actor: the model and the banks' replica, for many actors at once.

As SEED RL's central inference (arXiv:1910.06591) it keeps the state of all running episodes, so
that an actor sends only new text; other than there, an episode keeps its version (ours): a session
is opened for each request of an actor, with the newest weights and the banks as they stand, and
keeps these weights to its end. Sessions of one version share a *table*: a policy with slots for as
many actors as fit in a batch. A version's weights go with its last session.

Not thread-safe: one thread asks, so that versions and banks change only between two batches.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import redis
import torch

from actors.batching import Kind
from actors.errors import ActingError
from actors.policy import Choice, Policy
from actors.rounds import Answered, InferenceLostError, Opened, Round
from configs.errors import NesyprError
from configs.schema import ActingConfig, SharedMemoryConfig
from model.saving import from_bytes
from model.small_lm import SmallLM
from model.tokenizer import Tokenizer
from shared_memory.node_replica import open_replica
from shared_memory.weights import PublishedWeights

FORGOTTEN_AFTER = 2.0
"""Request deadlines without a word after which a session ends: its actor was given up long ago."""


@dataclass(slots=True, eq=False)
class Table:
    """A policy, and which places of `acting.episodes` slots each are free in it."""

    number: int
    policy: Policy
    places: int
    free: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = list(range(self.places))[::-1]

    @property
    def sessions(self) -> int:
        """How many there are."""
        return self.places - len(self.free)


@dataclass(slots=True)
class Session:
    """An actor's place at a table."""

    actor: str
    table: Table
    place: int
    heard: float


class InferenceService:
    """Sessions, their tables, weights and banks. The model runs on `device`."""

    def __init__(
        self,
        name: str,
        run: str,
        seed: int,
        connection: redis.Redis,
        domains: Sequence[str],
        acting: ActingConfig,
        shared_memory: SharedMemoryConfig,
        device: torch.device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._acting = acting
        self._device = device
        self._clock = clock
        self._max_version_lag = shared_memory.bank.version_lag
        self._domains = tuple(domains)
        self._replica = open_replica(
            connection, run, self._domains, shared_memory, actions=acting.contrast_by == "outcomes"
        )
        self._weights = PublishedWeights(connection, run)
        self._generator = torch.Generator(device).manual_seed(_drawing_seed(seed, name))
        self._model: SmallLM | None = None
        self._version = -1
        self._tables: list[Table] = []
        self._sessions: dict[int, Session] = {}
        self._opened = self._laid = 0  # sessions and tables so far
        self.batches = 0
        """How many were decided."""

    @property
    def versions(self) -> list[int]:
        """Of which there are weights here now, newest last."""
        return sorted({table.policy.version for table in self._tables})

    @property
    def tokenizer(self) -> Tokenizer:
        """That of all versions. Raises ActingError before the first session."""
        if self._model is None:
            raise ActingError(f"{self.name} has no model before a session is opened")
        return self._model.tokenizer

    def open(self, actor: str) -> Opened:
        """See `Inference`. Raises ActingError where no weights have been published."""
        now = self._clock()
        self._forget(now)
        for number, session in list(self._sessions.items()):
            if session.actor == actor:
                self.close(number)
        if self._acting.banks != "none":
            self._replica.refresh()
        model = self._newest()
        table = self._free_table(model)
        number = self._opened
        self._opened += 1
        self._sessions[number] = Session(actor, table, table.free.pop(), now)
        return Opened(number, self._version, self.watermark, table.policy.max_tokens)

    def close(self, session: int) -> None:
        """See `Inference`; a session that is not known is over already."""
        found = self._sessions.pop(session, None)
        if found is not None:
            found.table.free.append(found.place)
            self._drop_tables()

    def kind(self, asked: Round) -> Kind:
        """Which rounds can be decided together with this one. Raises InferenceLostError.

        Procedures are exchanged only among the episodes of one actor, as where each has a model of
        its own.
        """
        session = self._known(asked.session)
        alone: Hashable = None if asked.shuffle == "none" else asked.session
        how = (asked.allowed is not None, asked.banks, asked.shuffle, alone)
        return Kind(session.table.number, how)

    def askers(self, table: Hashable) -> int:
        """How many sessions a table has; `table` as in `kind`. From any thread, like `kind`."""
        return sum(session.table.number == table for session in list(self._sessions.values()))

    def decide(self, batch: Sequence[Round]) -> list[Answered | NesyprError]:
        """Answer each round of a batch, all of one kind; what is wrong with one fails it alone."""
        self.batches += 1
        now = self._clock()
        answers: dict[int, Answered | NesyprError] = {}
        good: list[tuple[int, Round, Session]] = []
        for number, asked in enumerate(batch):
            try:
                session = self._known(asked.session)
                session.heard = now
                self._read_texts(session, asked)
                good.append((number, asked, session))
            except NesyprError as error:
                answers[number] = error
        if good:
            choices = iter(self._choose([(asked, session) for _, asked, session in good]))
            for number, asked, session in good:
                found = tuple(next(choices) for _ in asked.slots)
                version = session.table.policy.version
                answers[number] = Answered(version, self.watermark, found)
        return [answers[number] for number in range(len(batch))]

    def leave(self) -> None:
        """Give up what the node's processes share; nothing can be asked afterwards."""
        self._replica.close()

    @property
    def watermark(self) -> int:
        """Batches of the banks' logs that have been applied, of all domains together."""
        return sum(self._replica.position(domain) for domain in self._domains)

    def _choose(self, batch: Sequence[tuple[Round, Session]]) -> list[Choice]:
        """All decisions of a batch, in its order."""
        first, session = batch[0]
        slots: list[int] = []
        domains: list[str] = []
        allowed: list[Sequence[Sequence[int]]] = []
        watched: list[int] = []
        for asked, its in batch:
            watched += [len(slots) + row for row in asked.watched]
            slots += [self._slot(its, slot) for slot in asked.slots]
            domains += asked.domains
            allowed += asked.allowed or ()
        return session.table.policy.decide(
            slots,
            domains,
            None if first.allowed is None else allowed,
            first.shuffle,
            first.banks,
            watched,
        )

    def _read_texts(self, session: Session, asked: Round) -> None:
        policy = session.table.policy
        for slot, anew, tokens in asked.texts:
            (policy.enter if anew else policy.feed)([self._slot(session, slot)], [tokens])

    def _slot(self, session: Session, slot: int) -> int:
        return session.place * self._acting.episodes + slot

    def _known(self, number: int) -> Session:
        if number not in self._sessions:
            raise InferenceLostError(
                "", f"{self.name} knows no session {number}: it was ended, or is of another"
            )
        return self._sessions[number]

    def _newest(self) -> SmallLM:
        latest = self._weights.latest_version()
        if latest is None or latest < 0:
            raise ActingError(
                f"{self.name} has no weights to act with: the learner must publish its first "
                "version before tasks are given out"
            )
        if self._model is None or latest > self._version:
            version, payload = self._weights.fetch()
            model, _ = from_bytes(payload)
            self._model, self._version = model.to(self._device).eval(), version
            self._drop_tables()
        return self._model

    def _free_table(self, model: SmallLM) -> Table:
        for table in self._tables:
            if table.policy.version == self._version and table.free:
                return table
        places = self._acting.inference_batch // self._acting.episodes
        policy = Policy(
            model,
            self._version,
            self._acting,
            self._replica,
            self._max_version_lag,
            self._generator,
            places * self._acting.episodes,
        )
        self._tables.append(Table(self._laid, policy, places))
        self._laid += 1
        return self._tables[-1]

    def _drop_tables(self) -> None:
        """Of tables without sessions only one goes on, of the newest version."""
        kept: list[Table] = []
        spare = False
        for table in self._tables:
            if not table.sessions:
                if spare or table.policy.version != self._version:
                    continue
                spare = True
            kept.append(table)
        self._tables = kept

    def _forget(self, now: float) -> None:
        """End the sessions of actors that are gone."""
        longest = FORGOTTEN_AFTER * self._acting.request_deadline_s
        for number, session in list(self._sessions.items()):
            if now - session.heard > longest:
                self.close(number)


def _drawing_seed(seed: int, what: str) -> int:
    drawn = hashlib.blake2s(f"{seed}/{what}/answers".encode(), digest_size=4).digest()
    return int.from_bytes(drawn, "big")
