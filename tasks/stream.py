"""The continual stream of tasks, and the held-out probe of each phase.

    stream = TaskStream(config.stream, seed=0)
    stream[17]          # the same task on every machine, in any order
    stream.probe(0)     # held-out tasks of the first phase

Phases follow each other; inside a phase, each task's domain is drawn by weight (or has its turn)
and the task by the domain's generator or from its problem files. A stream's tasks may repeat where
a domain is small, unless `distinct` is set; what a probe holds never occurs in the stream: tasks
are compared as the small LM sees them (`Task.visible`: fluent atoms and goal, up to names and
order), and by their whole content. The probes of all phases differ among themselves in the same
way.

At most half of the visible contents that the draws for the probes meet are held out, so that the
stream keeps as much of a small domain. Where a draw is held out, the same domain is drawn again:
domains keep their shares of the stream. In the probes, too, domains are drawn by weight, but a
domain with nothing more to hold out leaves the rest of the probe to the phase's others; phases
take turns, so that each gets some of what is scarce.

A stream of distinct tasks is drawn in its order, because what may come depends on what came: the
first look at a task draws all before it, later ones find them by their origins. Who takes which
task, so that none is lost or done twice however many actors there are, `cluster.dispatcher` says.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.schema import DomainShare, StreamConfig
from tasks.domains import Domain, get_domain, how_to_get_files
from tasks.errors import TaskError
from tasks.file_tasks import FileTasks
from tasks.stream_phases import Phase, lay_out, size_at, turns
from tasks.task import Task

MOST_DRAWS = 2000
"""Draws for one task of the stream before giving up."""

MOST_PROBE_DRAWS = 400
"""Draws for one task of a probe before its domain counts as exhausted."""

_FILE_TASKS = FileTasks()


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
        laid_out = lay_out(config)
        self.phases: tuple[Phase, ...] = tuple(phase for phase, _ in laid_out)
        self._shares = tuple(phase.domains for _, phase in laid_out)
        self._turns = tuple(
            turns(phase.domains, phase.tasks) if phase.mixing == "turns" else None
            for _, phase in laid_out
        )
        for phase in config.phases:
            for share in phase.domains:
                _check_source(self._domains[share.name], share)
        self._held_out: set[str] = set()
        self._probes = self._draw_probes()
        self._came: list[tuple[str, str]] = []  # domain and origin of each distinct task so far
        self._met: set[str] = set()  # their contents
        self._dry: set[str] = set()  # sources that have no more of them
        self._tried: set[tuple[str, Path]] = set()  # domain and file of what was taken or passed by
        for phase_ in self.phases[: 1 if config.distinct else None]:
            _ = self[phase_.start]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains of all phases, each once, in the order of the configuration."""
        return tuple({domain.name: domain for domain in self._domains.values()}.values())

    @property
    def held_out(self) -> frozenset[str]:
        """The digests, visible and of content, of all probes' tasks; none is in the stream."""
        return frozenset(self._held_out)

    @property
    def sources(self) -> dict[str, str]:
        """A digest (16 hex digits) for each domain that is read from files: of their names and
        sizes in their order. With another one the same numbers may mean other tasks."""
        names = {
            share.name
            for phase in self._config.phases
            for share in phase.domains
            if share.source == "files"
        }
        return {name: _files_digest(self._domains[name]) for name in sorted(names)}

    def __len__(self) -> int:
        return self.phases[-1].stop

    def __iter__(self) -> Iterator[Task]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Task:
        """Task number `index` (from 0); `IndexError` past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"task {index} is outside the stream of {len(self)} tasks")
        phase = self.phase_of(index)
        if self._config.distinct:
            return replace(self._distinct(index), phase=phase.number, index=index)
        rng = random.Random(_number(self._seed, "stream", index))
        share = self._share(rng, phase, index)
        for _ in range(MOST_DRAWS):
            task = self._draw(rng, share, phase.place(index), probe=False)
            if not self._is_held_out(task):
                return replace(task, phase=phase.number, index=index)
        raise TaskError(
            f"phase '{phase.name}' has no tasks of domain '{share.name}' left beside its probe "
            f"({MOST_DRAWS} draws were all held out): widen its sizes or lower stream.probe_tasks"
        )

    def _share(self, rng: random.Random, phase: Phase, index: int) -> DomainShare:
        """From which share a task of the stream comes."""
        in_turn = self._turns[phase.number]
        if in_turn is not None:
            return in_turn[index - phase.start]
        return _by_weight(rng, self._shares[phase.number])

    def _distinct(self, index: int) -> Task:
        """Task number `index` of a stream in which none comes twice."""
        if index < len(self._came):
            domain, origin = self._came[index]
            return get_domain(domain).task_from_origin(origin)
        while True:
            task = self._next_distinct()
            if len(self._came) > index:
                return task

    def _next_distinct(self) -> Task:
        """Draw the first task that was not drawn yet."""
        index = len(self._came)
        phase = self.phase_of(index)
        place = phase.place(index)
        rng = random.Random(_number(self._seed, "stream", index))
        share = self._share(rng, phase, index)
        left = list(self._shares[phase.number])
        while True:
            source = _source(share, size_at(share, place))
            if source not in self._dry:
                for task in self._candidates(rng, share, place):
                    if task.digest not in self._met and not self._is_held_out(task):
                        self._met.add(task.digest)
                        self._came.append((task.domain, task.origin))
                        return task
                self._dry.add(source)
            left.remove(share)
            if not left:
                names = ", ".join(f"'{name}'" for name in phase.domains)
                raise TaskError(
                    f"phase '{phase.name}' runs dry at task {index - phase.start} of "
                    f"{phase.stop - phase.start}: its domains ({names}) have no more tasks that "
                    "did not come before; widen its sizes, lower its tasks, or set "
                    "stream.distinct to false"
                )
            share = _by_weight(rng, left)

    def _candidates(self, rng: random.Random, share: DomainShare, place: float) -> Iterator[Task]:
        """Draws of a share; each of its files once in the stream: what it holds came, or may not
        come at all."""
        if share.source == "generator":
            for _ in range(MOST_DRAWS):
                yield self._draw(rng, share, place, probe=False)
        else:
            domain = self._domains[share.name]
            for file in rng.sample(domain.train_files, len(domain.train_files)):
                if (domain.name, file) not in self._tried:
                    self._tried.add((domain.name, file))
                    yield _FILE_TASKS.task(domain.name, file)

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
        shares = self._shares[phase.number]
        while left := [share for share in shares if not contents[_all_of(share)].exhausted]:
            share = _by_weight(rng, left)
            source = contents[_all_of(share)]
            on_file = share.source == "files" and bool(self._domains[share.name].test_files)
            for _ in range(MOST_PROBE_DRAWS):
                place = rng.random() if share.drift_to else 0.0
                task = self._draw(rng, share, place, probe=True)
                held_out = self._is_held_out(task)
                if task.visible not in source.met:
                    source.met.add(task.visible)
                    source.held_out += held_out
                concerned = (other for other in contents.values() if task.visible in other.met)
                if not held_out and (on_file or all(other.spares_one for other in concerned)):
                    return task
            source.exhausted = True
        return None

    def _draw(self, rng: random.Random, share: DomainShare, place: float, probe: bool) -> Task:
        domain = self._domains[share.name]
        if share.source == "generator":
            return domain.draw(size_at(share, place), rng.getrandbits(62))
        files = domain.test_files if probe and domain.test_files else domain.train_files
        return _FILE_TASKS.task(domain.name, rng.choice(files))


def _by_weight(rng: random.Random, shares: Sequence[DomainShare]) -> DomainShare:
    return rng.choices(shares, [share.weight for share in shares])[0]


def _source(share: DomainShare, size: Mapping[str, tuple[int, int]]) -> str:
    """What can be drawn: equal for shares that differ in weight alone."""
    return repr((share.name, share.source, sorted(size.items())))


def _all_of(share: DomainShare) -> str:
    """What can be drawn in the whole phase."""
    return _source(share, share.size) + (_source(share, share.drift_to) if share.drift_to else "")


def _check_source(domain: Domain, share: DomainShare) -> None:
    if share.source == "generator":
        domain.check_size(share.size)
        domain.check_size(share.drift_to)
    elif not domain.train_files:
        raise TaskError(f"domain '{share.name}' has no problem files: {how_to_get_files(domain)}")
    elif share.size or share.drift_to:
        raise TaskError(f"domain '{share.name}' is read from files, so that 'size' has no meaning")


def _files_digest(domain: Domain) -> str:
    """Of the problem files' paths below the folder that holds them all, and their sizes."""
    known = hashlib.blake2b(digest_size=8)
    for files in (domain.train_files, domain.test_files):
        folder = os.path.commonpath([file.parent for file in files]) if files else ""
        for file in files:
            known.update(f"{os.path.relpath(file, folder)}\t{file.stat().st_size}\n".encode())
        known.update(b"\n")
    return known.hexdigest()


def _number(*parts: object) -> int:
    """A seed from parts, the same on every machine."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
