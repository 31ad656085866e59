"""The continual stream of tasks, and the held-out probe of each phase.

    stream = TaskStream(config.stream, seed=0)
    stream[17]          # the same task on every machine, in any order
    stream.probe(0)     # held-out tasks of the first phase

Phases follow each other; inside a phase, each task's domain is drawn by weight and the task by
the domain's generator or from its problem files. A stream's tasks may repeat where a domain is
small; what a probe holds never occurs in the stream: tasks are compared by content digest, that
is up to names and the order of atoms. At most half of a generator's contents can be held out, so
that in small domains the stream keeps tasks of every size. Where a draw is held out, the same
domain is drawn again: domains keep their shares of the stream.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from configs.schema import DomainShare, StreamConfig
from tasks.domains import Domain, get_domain
from tasks.errors import TaskError
from tasks.task import Task

MOST_DRAWS = 2000
"""Draws for one task, of the stream or of a probe, before giving up."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the stream: tasks `start` to `stop` - 1."""

    number: int
    name: str
    start: int
    stop: int
    domains: tuple[str, ...]


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
        self._probes = tuple(self._draw_probe(number) for number in range(len(config.phases)))
        self._held_out = frozenset(task.digest for probe in self._probes for task in probe)
        for phase_ in self.phases:
            _ = self[phase_.start]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of all phases, each once, in the order of the configuration."""
        return tuple({domain.name: domain for domain in self._domains.values()}.values())

    @property
    def held_out(self) -> frozenset[str]:
        """The digests of all probes' tasks; none occurs in the stream."""
        return self._held_out

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
        share = self._share(rng, phase.number)
        for _ in range(MOST_DRAWS):
            task = self._draw(rng, share, probe=False)
            if task.digest not in self._held_out:
                return replace(task, phase=phase.number, index=index)
        raise TaskError(
            f"phase '{phase.name}' has no tasks of domain '{share.name}' left beside its probe "
            f"({MOST_DRAWS} draws were all held out): widen its sizes or lower stream.probe_tasks"
        )

    def phase_of(self, index: int) -> Phase:
        """The phase to which task number `index` belongs."""
        return next(phase for phase in self.phases if index < phase.stop)

    def probe(self, phase: int) -> tuple[Task, ...]:
        """The held-out tasks of a phase; all differ in content."""
        return self._probes[phase]

    def _draw_probe(self, number: int) -> tuple[Task, ...]:
        wanted = self._config.probe_tasks
        rng = random.Random(_number(self._seed, "probe", number))
        found: dict[str, Task] = {}
        while len(found) < wanted:
            share = self._share(rng, number)
            for _ in range(MOST_DRAWS):
                task = self._draw(rng, share, probe=True)
                if task.digest not in found and self._may_be_held_out(task, share):
                    found[task.digest] = replace(task, phase=number, index=-1)
                    break
            else:
                raise TaskError(
                    f"phase '{self.phases[number].name}' can supply only {len(found)} distinct "
                    f"probe tasks of the {wanted} asked for (domain '{share.name}' has no more): "
                    "widen its sizes or lower stream.probe_tasks"
                )
        return tuple(found.values())

    def _share(self, rng: random.Random, phase: int) -> DomainShare:
        shares = self._config.phases[phase].domains
        return rng.choices(shares, [share.weight for share in shares])[0]

    def _draw(self, rng: random.Random, share: DomainShare, probe: bool) -> Task:
        domain = self._domains[share.name]
        if share.source == "generator":
            return domain.draw(share.size, rng.getrandbits(62))
        files = domain.test_files if probe and domain.test_files else domain.train_files
        return _file_task(domain.name, rng.choice(files))

    def _may_be_held_out(self, task: Task, share: DomainShare) -> bool:
        """Half of all contents, by digest and seed; all where problems to hold out are on file."""
        if share.source == "files" and self._domains[share.name].test_files:
            return True
        return (int(task.digest, 16) + self._seed) % 2 == 0


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
