"""Actors whose small LM is a timed stand-in, many in one process (for `nesypr bench fleet`).

To the driver and to shared memory a stand-in is an actor: it refreshes its replica of the banks
and the weights before a request, acts the request's tasks in lock-step, pushes what has finished
in the batches of an actor, and reports. Where an actor reads, decodes and simulates, it sleeps for
as long as a round of decisions takes; nine of ten procedures that it pushes are known already.
Those of a simulated node share one replica, as a node's actors do.

A `StandInHandle` takes the place of Ray's handle of an actor's process: what the fleet asks goes to
a process of stand-ins, with the actor's name before it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from actors.records import (
    ActorSetting,
    ActReport,
    Assignment,
    ProbeOutcome,
    ProbeReport,
    Pulse,
    Shuffle,
    StageTimes,
)
from cluster.resources import resident_mb
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.records import Decision, Episode, PlanRequest
from shared_memory.replica import BankReplica
from shared_memory.weights import PublishedWeights
from tasks.task import Task

PUSH_BATCH = 16
"""As `actors.service`, which is not imported here: it loads torch."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a stand-in acts, and what its episodes look like."""

    round_s: float = 1.0  # a round of decisions of all episodes in lock-step
    decisions: tuple[int, int] = (4, 12)  # of an episode: least, most
    jitter: float = 0.1  # of a round's time, as a share
    new: float = 0.1  # share of procedures that no bank has
    failed: float = 0.05  # share of episodes
    chunks: int = 16
    codes: int = 256
    prompt_tokens: int = 60


class StandIn:
    """One actor's part: its own connection, weights and account of time."""

    def __init__(
        self, name: str, setting: ActorSetting, pace: Pace, refresh: Callable[[], None]
    ) -> None:
        self._name = name
        self._pace = pace
        self._refresh_replica = refresh
        client = connect(setting.shared_memory, setting.url, "actor")
        self._bank = Bank(client, setting.run, setting.shared_memory.bank)
        self._weights = PublishedWeights(client, setting.run)
        self._version = -1
        self._random = np.random.default_rng([setting.seed, *name.encode()])
        self.rounds = 0

    def act(self, assignments: Sequence[Assignment]) -> ActReport:
        """As `actors.service.ActorService.act`."""
        began = time.perf_counter()
        self._refresh()
        numbers: list[int] = []
        pending: list[Episode] = []
        requests: list[PlanRequest] = []
        doubled, decisions = 0, 0
        for assignment, count in self._finishing(assignments):
            episode = self._episode(assignment, count)
            pending.append(episode)
            requests.append(_request(assignment.task, not episode.success))
            numbers.append(assignment.episode)
            decisions += len(episode.decisions)
            if len(pending) >= PUSH_BATCH or len(numbers) == len(assignments):
                doubled += self._bank.push(pending, requests).doubled
                pending, requests = [], []
        seconds = time.perf_counter() - began
        return ActReport(
            actor=self._name,
            version=self._version,
            episodes=tuple(numbers),
            doubled=doubled,
            times=StageTimes(select=seconds, decisions=decisions, episodes=len(numbers)),
            seconds=seconds,
            resident_mb=resident_mb(os.getpid()),
        )

    def probe(self, assignments: Sequence[Assignment]) -> ProbeReport:
        """Answers at once: what probes cost is not simulated."""
        self._refresh()
        outcomes = tuple(
            ProbeOutcome(
                digest=each.task.digest, domain=each.task.domain, phase=each.task.phase,
                success=True, conditions_met=1, conditions=1, steps=1, accepted=1,
                hits_success=0, hits_failure=0, ending="solved",
            )
            for each in assignments
        )  # fmt: skip
        return ProbeReport(self._name, self._version, outcomes, 0.0)

    def _refresh(self) -> None:
        """The replica up to now; the newest weights, fetched whole."""
        self._refresh_replica()
        latest = self._weights.latest_version()
        if latest is not None and latest > self._version:
            self._version, _ = self._weights.fetch()

    def _finishing(self, assignments: Sequence[Assignment]) -> Iterator[tuple[Assignment, int]]:
        """The assignments as their episodes end, round by round, with their decisions."""
        pace = self._pace
        lengths = self._random.integers(pace.decisions[0], pace.decisions[1] + 1, len(assignments))
        for number in range(1, int(lengths.max()) + 1):
            pause = pace.round_s * (1.0 + pace.jitter * self._random.uniform(-1.0, 1.0))
            time.sleep(pause * float((lengths >= number).mean()))  # fewer at once, less to do
            self.rounds += 1
            yield from (
                (each, number) for each, length in zip(assignments, lengths) if length == number
            )

    def _episode(self, assignment: Assignment, count: int) -> Episode:
        pace, task = self._pace, assignment.task
        prompt = tuple(self._random.integers(0, 250, pace.prompt_tokens).tolist())
        success = bool(self._random.random() >= pace.failed)
        return Episode(
            episode=assignment.episode,
            task_index=task.index,
            task_digest=task.digest,
            domain=task.domain,
            phase=task.phase,
            book_version=self._version,
            success=success,
            conditions_met=int(success),
            conditions=1,
            steps=count,
            decisions=tuple(self._decision(place, prompt) for place in range(count)),
            actor=self._name,
            seconds=pace.round_s * count,
            hits_success=0,
            hits_failure=0,
        )

    def _decision(self, place: int, prompt: tuple[int, ...]) -> Decision:
        """One with a procedure of its own, or with one of a thousand that all know."""
        pace = self._pace
        known = self._random.random() >= pace.new
        seed = int(self._random.integers(1000) if known else self._random.integers(1000, 2**40))
        drawn = np.random.default_rng(seed)
        codes = drawn.integers(0, pace.codes, pace.chunks).astype(np.uint16)
        return Decision(place, codes, f"stack block{seed % 8} block{seed % 7}", True, prompt)


class _Node:
    """What the stand-ins of one simulated node share."""

    def __init__(self, setting: ActorSetting) -> None:
        client = connect(setting.shared_memory, setting.url, "actor")
        self._replica = BankReplica(
            client, setting.run, setting.domains, setting.shared_memory.bank
        )
        self._feeding = threading.Lock()

    def refresh(self) -> None:
        """One feeds, as on a real node; who waited for it has what it fed."""
        with self._feeding:
            self._replica.refresh()


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class StandInProcess:
    """Many stand-ins in one process; each call takes one of its threads."""

    def __init__(self, setting: ActorSetting, pace: Pace, nodes: int) -> None:
        self._setting = setting
        self._pace = pace
        self._nodes = [_Node(setting) for _ in range(nodes)]
        self._here: dict[str, StandIn] = {}
        self._making = threading.Lock()

    def start(self, name: str) -> Pulse:
        """Make the stand-in of this name."""
        with self._making:
            node = self._nodes[len(self._here) % len(self._nodes)]
            self._here[name] = StandIn(name, self._setting, self._pace, node.refresh)
        return self.pulse(name)

    def act(self, name: str, assignments: Sequence[Assignment]) -> ActReport:
        """See `StandIn.act`."""
        return self._here[name].act(assignments)

    def probe(
        self,
        name: str,
        assignments: Sequence[Assignment],
        restrict: bool,
        shuffle: Shuffle,
        banks: bool,
    ) -> ProbeReport:
        """See `StandIn.probe`."""
        return self._here[name].probe(assignments)

    def pulse(self, name: str) -> Pulse:
        """A sign of life of this process, and how far the stand-in is."""
        rounds = self._here[name].rounds if name in self._here else -1
        node = ray.get_runtime_context().get_node_id()
        return Pulse(os.getpid(), rounds, resident_mb(os.getpid()), node)

    def leave(self, name: str) -> None:
        """Nothing to give up: a node's replica goes with the process."""


class _Method:
    """`handle.method.remote(…)` with a name put before."""

    def __init__(self, method: Any, name: str) -> None:
        self._method = method
        self._name = name

    def remote(self, *values: object) -> Any:
        """Ask; an object reference, as Ray's."""
        return self._method.remote(self._name, *values)


class StandInHandle:
    """What the fleet holds in place of the handle of an actor's process."""

    def __init__(self, process: Any, name: str) -> None:
        self.start = _Method(process.start, name)
        self.act = _Method(process.act, name)
        self.probe = _Method(process.probe, name)
        self.pulse = _Method(process.pulse, name)
        self.leave = _Method(process.leave, name)


class StandInProcesses:
    """Processes of stand-ins, which take turns; started with the first one.

    `count` processes hold up to `most` stand-ins in all, `a_node` of them on each simulated node.
    """

    def __init__(self, count: int, most: int, a_node: int, pace: Pace) -> None:
        self._count = count
        self._each = -(-most // count)
        self._nodes = -(-self._each // a_node)
        self._pace = pace
        self._processes: list[Any] = []
        self._given = 0

    def handle(self, name: str, setting: ActorSetting) -> StandInHandle:
        """A new stand-in of this name."""
        if not self._processes:
            remote: Any = StandInProcess  # a remote class; mypy sees the plain one
            threads = 3 * self._each + 8  # a request, a pulse and a farewell of each at once
            self._processes = [
                remote.options(max_concurrency=threads).remote(setting, self._pace, self._nodes)
                for _ in range(self._count)
            ]
        process = self._processes[self._given % self._count]
        self._given += 1
        return StandInHandle(process, name)


def _request(task: Task, failed: bool) -> PlanRequest:
    return PlanRequest(
        task_index=task.index,
        task_digest=task.digest,
        domain=task.domain,
        phase=task.phase,
        problem=task.problem,
        origin=task.origin,
        failed=failed,
    )
