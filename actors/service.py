"""What runs inside an actor process: refresh, act, hand the outcomes to shared memory.

One request is a list of tasks. Before it, the newest published weights and the banks' increments
are fetched, so that all episodes of a request are acted with one book version; finished episodes
go to the banks in batches, each batch in one atomic step that a retry cannot double. Probes read
the banks like any episode, and write nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import redis
import torch

from actors.errors import ActingError
from actors.outcomes import bank_episode, plan_request, probe_outcome
from actors.policy import Policy
from actors.process_memory import resident_mb
from actors.records import (
    ActReport,
    Assignment,
    BrokenOff,
    ProbeReport,
    Shuffle,
    StageTimes,
)
from actors.rollout import Deciding, FinishedEpisode, MakeSimulator, Rollout
from actors.rounds import Inference, InferenceLostError
from actors.shared_policy import SharedPolicy
from configs.schema import ActingConfig, SharedMemoryConfig
from model.saving import from_bytes
from model.small_lm import SmallLM
from model.tokenizer import WordTokenizer
from shared_memory.bank import Bank, PushResult
from shared_memory.node_replica import open_replica
from shared_memory.replica import Replica
from shared_memory.weights import PublishedWeights
from tasks.rendering import Rendering

HOST = torch.device("cpu")
PUSH_BATCH = 16
"""Finished episodes that go to shared memory in one step."""


class ActorService:
    """An actor: a rollout, a policy with the newest weights, and the way to shared memory.

    `on_progress` is called after every round of decisions (at most once a second), so that a
    supervisor can tell a slow actor from one that hangs. The model runs on `device`.

    Where inference is shared, each request says who is asked; what was asked there in vain ends the
    request early, with a report of what is in the banks by then.

    With `reproducible` a request is all or nothing and owes nothing to the requests before it: its
    episodes go to the banks together, a new policy acts it, its first task says what is drawn.
    """

    def __init__(
        self,
        name: str,
        run: str,
        seed: int,
        connection: redis.Redis,
        rendering: Rendering,
        make_simulator: MakeSimulator,
        step_limit: int,
        domains: Sequence[str],
        acting: ActingConfig,
        shared_memory: SharedMemoryConfig,
        on_progress: Callable[[], None] | None = None,
        episodes_every: int = 0,
        reproducible: bool = False,
        max_staleness: int | None = None,
        device: torch.device = HOST,
    ) -> None:
        self.name = name
        self._device = device
        self._max_staleness = max_staleness
        self._seed = seed
        self._reproducible = reproducible
        self._acting = acting
        self._max_version_lag = shared_memory.bank.version_lag
        # A push counts as no progress: it must fail, with its sentence, well before the request.
        self._bank = Bank(
            connection, run, shared_memory.bank, deadline_s=acting.request_deadline_s / 2
        )
        self._replica: Replica | None = None
        if acting.inference == "own":
            self._replica = open_replica(
                connection,
                run,
                tuple(domains),
                shared_memory,
                actions=acting.contrast_by == "outcomes",
            )
        self._weights = PublishedWeights(connection, run)
        self._policy: Policy | None = None
        self._knows_tokenizer = False  # of the shared model
        self._generator = torch.Generator(device).manual_seed(_drawing_seed(seed, name))
        self._on_progress = on_progress
        self._last_progress = 0.0
        self._rollout = Rollout(
            rendering,
            WordTokenizer(rendering.vocabulary),
            make_simulator,
            step_limit,
            seed,
            end_on_refusal=not acting.remember_episode,
            simulator_deadline_s=acting.request_deadline_s / 2,  # leaves time to report
            watch_every=episodes_every,
        )

    @property
    def version(self) -> int:
        """The book version at hand; -1 before the first."""
        return -1 if self._policy is None else self._policy.version

    def act(
        self, assignments: Sequence[Assignment], inference: Inference | None = None
    ) -> ActReport:
        """Act the tasks, push every finished episode with its request for a plan, and report.

        Raises SharedMemoryError where shared memory stays away past its retries.
        """
        began = time.perf_counter()
        self._rollout.times = StageTimes()
        version = -1
        numbers: list[int] = []
        pending: list[FinishedEpisode] = []
        pushed = PushResult()
        broken_off: BrokenOff | None = None
        try:
            with self._deciding(assignments, inference) as policy:
                version = policy.version
                for finished in self._rollout.run(
                    policy, assignments, restrict=self._acting.restrict, on_progress=self._progress
                ):
                    pending.append(finished)
                    if len(pending) >= PUSH_BATCH and not self._reproducible:
                        pushed += self._push(pending, version, numbers)
                        pending = []
        except InferenceLostError as lost:
            broken_off = BrokenOff(lost.inference, str(lost), lost.overdue)
        if pending:
            pushed += self._push(pending, version, numbers)
        return ActReport(
            actor=self.name,
            version=version,
            episodes=tuple(numbers),
            doubled=pushed.doubled,
            times=self._rollout.times,
            seconds=time.perf_counter() - began,
            resident_mb=resident_mb(),
            waited_s=pushed.waited_s,
            broken_off=broken_off,
        )

    def probe(
        self,
        assignments: Sequence[Assignment],
        restrict: bool,
        shuffle: Shuffle = "none",
        banks: bool = True,
        inference: Inference | None = None,
    ) -> ProbeReport:
        """Act held-out tasks with the newest weights and banks; nothing is written."""
        began = time.perf_counter()
        try:
            with self._deciding(assignments, inference) as policy:
                outcomes = tuple(
                    probe_outcome(finished)
                    for finished in self._rollout.run(
                        policy, assignments, restrict, shuffle, banks, self._progress
                    )
                )
        except InferenceLostError as lost:
            broken_off = BrokenOff(lost.inference, str(lost), lost.overdue)
            return ProbeReport(self.name, -1, (), time.perf_counter() - began, broken_off)
        return ProbeReport(self.name, policy.version, outcomes, time.perf_counter() - began)

    def close(self) -> None:
        """Leave what the node's actors share; nothing can be asked afterwards."""
        if self._replica is not None:
            self._replica.close()

    @contextmanager
    def _deciding(
        self, assignments: Sequence[Assignment], inference: Inference | None
    ) -> Iterator[Deciding]:
        """What decides in these tasks: a policy of one's own, or a session elsewhere."""
        if self._acting.inference == "own":
            yield self._refresh(assignments)
            return
        if inference is None:
            raise ActingError(
                f"{self.name} has no model (acting.inference = shared) and was not told whom to ask"
            )
        shared = SharedPolicy(self.name, self._acting, inference)
        if not self._knows_tokenizer:
            self._rollout.tokenizer = inference.tokenizer()
            self._knows_tokenizer = True
        try:
            yield shared
        finally:
            shared.close()

    def _refresh(self, assignments: Sequence[Assignment]) -> Policy:
        """The newest published weights, and the banks as they stand now, to act these with."""
        if self._replica is not None and self._acting.banks != "none":
            self._replica.refresh()
        latest = self._weights.latest_version()
        if latest is None or latest < 0:
            raise ActingError(
                f"{self.name} has no weights to act with: the learner must publish its first "
                "version before tasks are given out"
            )
        if self._policy is None or latest > self._policy.version:
            version, payload = self._weights.fetch()
            model, _ = from_bytes(payload)
            model.to(self._device).eval()
            self._rollout.tokenizer = model.tokenizer
            self._policy = self._make_policy(model, version)
        elif self._reproducible:
            self._policy = self._make_policy(self._policy.model, self._policy.version)
        if self._reproducible and assignments:
            first = assignments[0]
            what = first.task.digest if first.episode < 0 else str(first.number)
            self._generator.manual_seed(_drawing_seed(self._seed, what))
        return self._policy

    def _make_policy(self, model: SmallLM, version: int) -> Policy:
        return Policy(
            model, version, self._acting, self._replica, self._max_version_lag, self._generator
        )

    def _push(
        self, finished: Sequence[FinishedEpisode], version: int, acknowledged: list[int]
    ) -> PushResult:
        """Hand episodes to the banks and note their numbers.

        Those that are too stale by now are dropped, which is counted: the learner waits for every
        episode that runs, so that this actor was cut off and given up, and its tasks are acted by
        others.
        """
        latest = self._weights.latest_version()
        if self._max_staleness is not None and (latest or 0) - version > self._max_staleness:
            self._bank.note_dropped(each.task.domain for each in finished)
            return PushResult()
        episodes = [bank_episode(each, version, self.name) for each in finished]
        requests = [plan_request(each) for each in finished]
        pushed = self._bank.push(episodes, requests)
        acknowledged.extend(each.episode for each in finished)
        return pushed

    def _progress(self) -> None:
        now = time.monotonic()
        if self._on_progress is not None and now - self._last_progress >= 1.0:
            self._last_progress = now
            self._on_progress()


def _drawing_seed(seed: int, what: str) -> int:
    """The seed of drawn answers: of an actor, by its name, or of a request."""
    drawn = hashlib.blake2s(f"{seed}/{what}/answers".encode(), digest_size=4).digest()
    return int.from_bytes(drawn, "big")
