"""The continual stream of tasks, and the held-out probe of each phase.

    stream = TaskStream(config.stream, seed=0)
    stream[17]          # the same task on every machine, in any order
    stream.probe(0)     # held-out tasks of the first phase

Phases follow each other; inside a phase, each task's domain is drawn by weight and the task by
the domain's generator or from its problem files. A stream's tasks may repeat where a domain is
small; what a probe holds never occurs in the stream: tasks are compared as the small LM sees them
(`Task.visible`: fluent atoms and goal, up to names and order), and by their whole content. The
probes of all phases differ among themselves in the same way.

At most half of the visible contents that the draws for the probes meet are held out, so that the
stream keeps as much of a small domain. Where a draw is held out, the same domain is drawn again:
domains keep their shares of the stream. In the probes, too, domains are drawn by weight, but a
domain with nothing more to hold out leaves the rest of the probe to the phase's others; phases
take turns, so that each gets some of what is scarce.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from configs.schema import DomainShare, StreamConfig
from tasks.domains import Domain, get_domain
from tasks.errors import TaskError
from tasks.task import Task

MOST_DRAWS = 2000
"""Draws for one task of the stream before giving up."""

MOST_PROBE_DRAWS = 400
"""Draws for one task of a probe before its domain counts as exhausted."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the stream: tasks `start` to `stop` - 1."""

    number: int
    name: str
    start: int
    stop: int
    domains: tuple[str, ...]


@dataclass(slots=True)
class _Contents:
    """What the draws from one source (domain and sizes) for the probes have met so far."""

    met: set[str] = field(default_factory=set)  # as `Task.visible`
    held_out: int = 0  # of those met
    exhausted: bool = False

    @property
    def spares_one(self) -> bool:
        """Whether with one more held out no more than half would be."""
        return 2 * (self.held_out + 1) <= len(self.met)


class TaskStream:
    """A seeded, reproducible sequence of tasks with random access.

    Making one draws the probes of all phases. `TaskError` if a domain is unknown, a size does not
    fit its generator, or a phase cannot supply its probe's distinct tasks beside a stream.
    """

    def __init__(self, config: StreamConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._domains = {
            share.name: get_domain(share.name) for phase in config.phases for share in phase.domains
        }
        stops = list(accumulate(phase.tasks for phase in config.phases))
        self.phases: tuple[Phase, ...] = tuple(
            Phase(
                number,
                phase.name,
                stop - phase.tasks,
                stop,
                tuple(dict.fromkeys(self._domains[share.name].name for share in phase.domains)),
            )
            for number, (phase, stop) in enumerate(zip(config.phases, stops))
        )
        for phase in config.phases:
            for share in phase.domains:
                _check_source(self._domains[share.name], share)
        self._held_out: set[str] = set()
        self._probes = self._draw_probes()
        for phase_ in self.phases:
            _ = self[phase_.start]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of all phases, each once, in the order of the configuration."""
        return tuple({domain.name: domain for domain in self._domains.values()}.values())

    @property
    def held_out(self) -> frozenset[str]:
        """The digests, visible and of content, of all probes' tasks; none is in the stream."""
        return frozenset(self._held_out)

    def __len__(self) -> int:
        return self.phases[-1].stop

    def __iter__(self) -> Iterator[Task]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Task:
        """Task number `index` (from 0); `IndexError` past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"task {index} is outside the stream of {len(self)} tasks")
        phase = self.phase_of(index)
        rng = random.Random(_number(self._seed, "stream", index))
        share = _by_weight(rng, self._config.phases[phase.number].domains)
        for _ in range(MOST_DRAWS):
            task = self._draw(rng, share, probe=False)
            if not self._is_held_out(task):
                return replace(task, phase=phase.number, index=index)
        raise TaskError(
            f"phase '{phase.name}' has no tasks of domain '{share.name}' left beside its probe "
            f"({MOST_DRAWS} draws were all held out): widen its sizes or lower stream.probe_tasks"
        )

    def phase_of(self, index: int) -> Phase:
        """The phase to which task number `index` belongs."""
        return next(phase for phase in self.phases if index < phase.stop)

    def probe(self, phase: int) -> tuple[Task, ...]:
        """The held-out tasks of a phase; those of all phases differ in what is visible."""
        return self._probes[phase]

    def _is_held_out(self, task: Task) -> bool:
        return task.visible in self._held_out or task.digest in self._held_out

    def _draw_probes(self) -> tuple[tuple[Task, ...], ...]:
        """One task for each phase in turn, until every phase has its probe."""
        probes: list[list[Task]] = [[] for _ in self.phases]
        rngs = [random.Random(_number(self._seed, "probe", p.number)) for p in self.phases]
        contents: dict[str, _Contents] = defaultdict(_Contents)
        for _ in range(self._config.probe_tasks):
            for phase, probe, rng in zip(self.phases, probes, rngs):
                task = self._draw_held_out(rng, phase, contents)
                if task is None:
                    names = ", ".join(f"'{name}'" for name in phase.domains)
                    raise TaskError(
                        f"phase '{phase.name}' can supply only {len(probe)} distinct probe tasks "
                        f"of the {self._config.probe_tasks} asked for (its domains, {names}, have "
                        "no more beside the stream and the other phases' probes): "
                        "widen its sizes or lower stream.probe_tasks"
                    )
                self._held_out |= {task.visible, task.digest}
                for source in contents.values():
                    source.held_out += task.visible in source.met
                probe.append(replace(task, phase=phase.number, index=-1))
        return tuple(map(tuple, probes))

    def _draw_held_out(
        self, rng: random.Random, phase: Phase, contents: dict[str, _Contents]
    ) -> Task | None:
        """A task that no probe has, of a domain drawn by weight; None if all are exhausted."""
        shares = self._config.phases[phase.number].domains
        shares = self._config.phases[phase.number].domains
        while left := [share for share in shares if not contents[_source(share)].exhausted]:
            share = _by_weight(rng, left)
            source = contents[_source(share)]
            on_file = share.source == "files" and bool(self._domains[share.name].test_files)
            for _ in range(MOST_PROBE_DRAWS):
                task = self._draw(rng, share, probe=True)
                held_out = self._is_held_out(task)
                if task.visible not in source.met:
                    source.met.add(task.visible)
                    source.held_out += held_out
                concerned = (other for other in contents.values() if task.visible in other.met)
                if not held_out and (on_file or all(other.spares_one for other in concerned)):
                    return task
            source.exhausted = True
        return None

    def _draw(self, rng: random.Random, share: DomainShare, probe: bool) -> Task:
        domain = self._domains[share.name]
        if share.source == "generator":
            return domain.draw(share.size, rng.getrandbits(62))
        files = domain.test_files if probe and domain.test_files else domain.train_files
        return _file_task(domain.name, rng.choice(files))


def _by_weight(rng: random.Random, shares: Sequence[DomainShare]) -> DomainShare:
    return rng.choices(shares, [share.weight for share in shares])[0]


def _source(share: DomainShare) -> str:
    """What can be drawn: equal for shares that differ in weight alone."""
    return repr((share.name, share.source, sorted(share.size.items())))


def _check_source(domain: Domain, share: DomainShare) -> None:
    if share.source == "generator":
        domain.check_size(share.size)
    elif not domain.train_files:
        raise TaskError(f"domain '{share.name}' has no problem files: use 'source: generator'")
    elif share.size:
        raise TaskError(f"domain '{share.name}' is read from files, so that 'size' has no meaning")


@lru_cache(maxsize=4096)
def _file_task(domain: str, file: Path) -> Task:
    return get_domain(domain).task_from_file(file)


def _number(*parts: object) -> int:
    """A seed from parts, the same on every machine."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
