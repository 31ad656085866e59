"""A reproducible run in one process, without Ray: the real bank, learner, actor and books.

Its parts take turns in an order that is drawn anew, as if each ran at a speed of its own; any of
them can be dropped between two turns, as if it had been killed, and made again.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import redis

from actors.records import Assignment
from actors.service import ActorService
from cluster import checkpoint
from cluster.checkpoint import DriverState
from cluster.dispatcher import (
    ActorLost,
    ActorReady,
    Dispatcher,
    EpisodeReported,
    Event,
    Issue,
    LeaseReturned,
    StreamOpened,
    VersionSeen,
)
from cluster.observer import Event as ObservedEvent
from cluster.outcome_intake import OutcomeIntake
from cluster.pacing import Pace
from cluster.run_folder import RunFolder
from cluster.script import Stage
from configs.schema import RunConfig
from learner.distilled_lm import DistilledLM
from learner.learner import LearnerService, LearnerSetting
from learner.ordered_schedule import OrderedSchedule
from shared_memory.connection import connect
from shared_memory.outcomes import OutcomeLog
from shared_memory.records import Decision, Episode
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights
from tasks.rendering import Rendering
from tasks.simulators import make_simulator
from tasks.stream import TaskStream

DEADLINE_S = 400.0

CONFIG: dict[str, Any] = {
    "seed": 3,
    "reproducible": True,
    "stream": {
        "probe_tasks": 2,
        "step_limit": 5,
        "phases": [
            {
                "name": "stacking",
                "tasks": 26,
                "domains": [{"name": "blocks", "size": {"blocks": (3, 4)}}],
            },
            {
                "name": "both",
                "tasks": 22,
                "domains": [
                    {"name": "gripper", "size": {"balls": (1, 2)}},
                    {"name": "blocks", "size": {"blocks": (3, 4)}},
                ],
            },
        ],
    },
    "model": {
        "layers": 2,
        "width": 32,
        "heads": 2,
        "feed_forward": 64,
        "max_tokens": 160,
        "memory": {"slots": 2, "width": 32, "layer": 1, "heads": 2},
        "book": {"codes": 16, "width": 16, "dead_after": 4},
    },
    "acting": {"episodes": 4, "request_tasks": 4, "restrict": True, "threshold": 0.8},
    "shared_memory": {
        "replica": "process",
        "fsync": "no",
        "bank": {"max_version_lag": 2, "max_entries": 60},
    },
    "distillation": {
        "batch_traces": 6,
        "steps_per_version": 3,
        "reservoir": 12,
        "tasks_per_version": 8,
        "warmup_steps": 2,
    },
}


class OrderedWorld:
    """One run; what it did is in `episodes`, by task, and in `versions`."""

    def __init__(self, root: Path, seed: int) -> None:
        self.config = RunConfig.model_validate(CONFIG)
        self.stream = TaskStream(self.config.stream, self.config.seed)
        self.folder = RunFolder.create(root, f"run-{seed}", numbered=False)
        self.episodes: dict[int, Any] = {}
        self.versions: dict[int, Any] = {}
        self._random = random.Random(seed)
        self._rendering = Rendering(self.stream.domains, self.config.rendering)
        self._domains = {domain.name: domain for domain in self.stream.domains}
        self._server = EmbeddedServer(self.folder.shared_memory, fsync="no")
        self._server.start()
        self.client: redis.Redis = connect(self.config.shared_memory, self._server.url)
        self._lives = 0
        self.start_driver()
        self.start_learner()

    # -- its parts -----------------------------------------------------------------------------

    def start_driver(self) -> None:
        """A driver, from its checkpoint if there is one; the actor is its own."""
        distillation = self.config.distillation
        self.dispatcher = Dispatcher(
            len(self.stream),
            self.config.acting.request_tasks,
            distillation.tasks_per_version,
            distillation.max_staleness,
        )
        resumed = (self.folder.checkpoints / "driver.json").exists()
        self.state = checkpoint.read(self.folder)[0] if resumed else DriverState(run="ordered")
        self._intake = OutcomeIntake(self.state, self._ignore, None, note_plans=True)
        self._outcomes = OutcomeLog(self.client, "ordered", tuple(self._domains))
        if self.state.dispatcher is not None:
            reported = [(one.episode, one.task_index) for one in self._read()]
            self.dispatcher.restore(self.state.dispatcher, reported)
        self.state.version = -1
        self.pace = Pace(distillation, self.stream.phases, self.dispatcher, self.state, 10, True)
        self.start_actor()

    def start_actor(self) -> None:
        """An actor under a name of its own."""
        self._lives += 1
        self._issued: Issue | None = None
        self._name = f"actor-0.{self._lives}"
        acting = self.config.acting
        self.actor = ActorService(
            name=self._name,
            run="ordered",
            seed=self.config.seed,
            connection=self.client,
            rendering=self._rendering,
            make_simulator=lambda domain: make_simulator(self._domains[domain]),
            step_limit=self.config.stream.step_limit,
            domains=tuple(self._domains),
            acting=acting,
            shared_memory=self.config.shared_memory,
            episodes_every=8,
            reproducible=True,
        )
        self._waits = True

    def start_learner(self) -> None:
        """A learner, from its checkpoint if there is one."""
        config = self.config
        setting = LearnerSetting(
            run="ordered",
            seed=config.seed,
            folder=self.folder.checkpoints / "learner",
            domains=tuple(self._domains),
            simulator="auto",
            rendering=config.rendering,
            teacher=config.teacher,
            distillation=config.distillation,
            shared_memory=config.shared_memory,
            reproducible=True,
        )
        self.learner = LearnerService(
            setting,
            self.client,
            lambda: DistilledLM(config.model, self._rendering, config.distillation, config.seed),
            ceiling=0,
            publish=0,
        )
        assert isinstance(self.learner._schedule, OrderedSchedule)
        self.learner._schedule._longest_wait_s = 0.05
        self.learner._teaching.start()

    def drop_learner(self) -> None:
        """As if it had been killed: nothing is written any more."""
        self.learner._teaching.stop()

    def drop_actor(self) -> None:
        """As if it had been killed while it acted, or after it had pushed."""
        if self._issued is not None and self._random.random() < 0.5:
            self._act(self._issued)
        list(self._taken())
        self._tell(ActorLost(self._name))
        self.start_actor()

    def drop_driver(self) -> None:
        """As if it had been killed, and the run resumed."""
        self.start_driver()

    def close(self) -> None:
        self.drop_learner()
        self.client.close()
        self._server.stop()

    # -- turns ---------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> None:
        """Take turns until so many tasks are acted (None: to the stream's end)."""
        deadline = time.monotonic() + DEADLINE_S
        while (stage := self._stage) is not None:
            if until is not None and len(self.episodes) >= until:
                return
            assert time.monotonic() < deadline, (stage, self.state, self.learner.status())
            self._random.choice((self._learn, self._learn, self._go_on, self._go_on, self._save))()

    @property
    def _stage(self) -> Stage | None:
        for phase in range(len(self.stream.phases)):
            if not self.pace.acted(Stage("act", phase)):
                return Stage("act", phase)
        return None

    def _learn(self) -> None:
        self.learner._turn()
        for report in self.learner.versions(-1):
            self.versions[report.version] = report
        if self.learner.version > self.state.version:
            self.state.version = self.learner.version
            self._tell(VersionSeen(self.state.version))

    def _go_on(self) -> None:
        stage = self._stage
        if stage is None or self.state.version < 0:
            return
        list(self._taken())
        self._tell(StreamOpened(self.pace.limit(stage)))
        if self._waits:
            self._waits = False
            self._tell(ActorReady(self._name))
        elif self._issued is not None:
            issued, self._issued = self._issued, None
            report = self._act(issued)
            list(self._taken())
            self._tell(LeaseReturned(self._name, report))
        learnable, publishable = self.pace.versions(stage)
        self.learner.allow(learnable, publishable)

    def _act(self, issued: Issue) -> tuple[int, ...]:
        tasks = [Assignment(number, self.stream[task], task) for number, task in issued.episodes]
        return self.actor.act(tasks).episodes

    def _save(self) -> None:
        self.state.dispatcher = self.dispatcher.state()
        checkpoint.write(self.folder, self.state)
        self._intake.checkpointed(self._outcomes)

    def _tell(self, event: Event) -> None:
        for instruction in self.dispatcher.handle(event):
            assert isinstance(instruction, Issue)
            assert self._issued is None
            self._issued = instruction

    def _taken(self) -> list[Episode]:
        episodes = self._read()
        for one in episodes:
            self._tell(EpisodeReported(one.episode, one.task_index, one.book_version))
        return episodes

    def _read(self) -> list[Episode]:
        episodes = list(self._intake.read(self._outcomes))
        for one in episodes:
            found = _decided(one)
            assert self.episodes.setdefault(one.task_index, found) == found
        return episodes

    @staticmethod
    def _ignore(event: ObservedEvent) -> None:
        """What observers are told is not looked at."""

    # -- what came of it -----------------------------------------------------------------------

    def result(self) -> dict[str, Any]:
        """All that must be the same."""
        version, payload = PublishedWeights(self.client, "ordered").fetch()
        return {
            "episodes": self.episodes,
            "versions": {
                number: (one.traces_new, one.traces_replayed, one.round.loss, one.round.steps)
                for number, one in self.versions.items()
            },
            "version": version,
            "weights": payload,
            "replay": self.learner._intake.reservoir.state(),
        }


def _decided(one: Episode) -> tuple[Any, ...]:
    return (
        one.book_version,
        one.success,
        one.steps,
        one.hits_success,
        one.hits_failure,
        one.near,
        one.alone,
        [_decision(each) for each in one.decisions],
    )


def _decision(one: Decision) -> tuple[Any, ...]:
    return one.action, one.accepted, one.codes.tolist()
