"""The continual stream of tasks, and the held-out probe of each phase.

    stream = TaskStream(config.stream, seed=0)
    stream[17]          # the same task on every machine, in any order
    stream.probe(0)     # held-out tasks of the first phase

Phases follow each other; inside a phase, each task's domain is drawn by weight and the task by
the domain's generator or from its problem files. A stream's tasks may repeat where a domain is
small; what a probe holds never occurs in the stream: tasks are compared by content digest, that
is up to names and the order of atoms.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from configs.schema import DomainShare, StreamConfig
from tasks.domains import Domain, get_domain
from tasks.errors import TaskError
from tasks.task import Task

MOST_DRAWS = 200
"""Draws for one task of the stream, and for each task of a probe, before giving up."""


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
        for _ in range(MOST_DRAWS):
            task = self._draw(rng, phase.number, probe=False)
            if task.digest not in self._held_out:
                return replace(task, phase=phase.number, index=index)
        raise TaskError(
            f"phase '{phase.name}' has no tasks left beside its probe ({MOST_DRAWS} draws were all "
            "held out): widen its domains' sizes or lower stream.probe_tasks"
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
        draws = 0
        while len(found) < wanted:
            task = self._draw(rng, number, probe=True)
            found.setdefault(task.digest, replace(task, phase=number, index=-1))
            draws += 1
            if draws >= MOST_DRAWS * wanted:
                raise TaskError(
                    f"phase '{self.phases[number].name}' can supply only {len(found)} distinct "
                    f"probe tasks of the {wanted} asked for: widen its domains' sizes or lower "
                    "stream.probe_tasks"
                )
        return tuple(found.values())

    def _draw(self, rng: random.Random, phase: int, probe: bool) -> Task:
        shares: Sequence[DomainShare] = self._config.phases[phase].domains
        share = rng.choices(shares, [share.weight for share in shares])[0]
        domain = self._domains[share.name]
        if share.source == "generator":
            return domain.draw(share.size, rng.getrandbits(62))
        files = domain.test_files if probe and domain.test_files else domain.train_files
        return _file_task(domain.name, rng.choice(files))


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
