"""Processes that push episodes and note what was acknowledged; then what became of all of it.

A writer pushes batches of episodes with numbers of its own, one after the other, and appends a
line `first number, time` to its file once a push returned. It ends once a file `stop` is there.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.records import Decision, Episode
from shared_memory.server_clients import ServerClient

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["shared_memory"])  # imported once, not in every writer
RUN = "run"
EPISODES = 5  # of a batch
_A_WRITER = 4_000_000  # numbers; whole batches


@dataclass(frozen=True, slots=True)
class Pushing:
    """How writers push."""

    domains: tuple[str, ...] = ("blocks",)
    decisions: int = 4  # of an episode
    tokens: int = 20  # of a prompt
    pause_s: float = 0.005
    patience_s: float = 45.0
    copies: int = 0
    deadline_s: float = 60.0


def episode_of(number: int, pushing: Pushing) -> Episode:
    """The same number makes the same episode."""
    random = np.random.default_rng(number)
    batch = number // EPISODES
    prompts = random.integers(0, 2**31 - 1, pushing.tokens)
    return Episode(
        episode=number,
        task_index=number,
        task_digest=f"{number:032x}",
        domain=pushing.domains[batch % len(pushing.domains)],
        phase=0,
        book_version=1,
        success=bool(number % 2),
        conditions_met=1,
        conditions=2,
        steps=pushing.decisions,
        decisions=tuple(
            Decision(
                number=place,
                codes=random.integers(0, 20, 6).astype(np.uint16),
                action=f"stack block{random.integers(1, 3)} block3",
                accepted=True,
                prompt_tokens=tuple(prompts.tolist()),
            )
            for place in range(pushing.decisions)
        ),
        actor="actor-0",
        seconds=0.25,
        hits_success=0,
        hits_failure=0,
    )


def write_noting_errors(url: str, writer: int, folder: Path, pushing: Pushing) -> None:
    """What a writer's process does."""
    try:
        write(url, writer, folder, pushing)
    except BaseException:  # noqa: BLE001 - told once the writers are stopped
        (folder / f"writer-{writer}.log").write_text(traceback.format_exc())
        sys.exit(1)


def write(url: str, writer: int, folder: Path, pushing: Pushing) -> None:
    """Push until it is told to stop; on from where this writer's file ends."""
    acknowledged = folder / f"acknowledged-{writer}"
    stop = folder / "stop"
    memory = SharedMemoryConfig(patience_s=pushing.patience_s, copies=pushing.copies)
    client = connect(memory, url)
    bank = Bank(client, RUN, BankConfig(), deadline_s=pushing.deadline_s)
    lines = acknowledged.read_text().splitlines() if acknowledged.exists() else []
    start = int(lines[-1].split()[0]) + 2 * EPISODES if lines else writer * _A_WRITER
    with acknowledged.open("a") as file:
        for first in range(start, (writer + 1) * _A_WRITER, EPISODES):
            if stop.exists():
                break
            time.sleep(pushing.pause_s)
            bank.push([episode_of(first + place, pushing) for place in range(EPISODES)])
            file.write(f"{first} {time.time()}\n")
            file.flush()
    client.close()


@dataclass(frozen=True, slots=True)
class Account:
    """What became of episodes. Batches are named by their first number."""

    acknowledged: int
    counted: int
    lost: int  # acknowledged, and not counted
    doubled: int  # counted more than once
    torn: int  # batches of which only a part was counted
    problems: tuple[str, ...]  # of `verify`, and of the totals
    longest_gap_s: float  # without any acknowledgement

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.torn or self.problems)


class Ingest:
    """Some writers in processes of their own; `stop` ends them."""

    def __init__(
        self, folder: Path, url: str, writers: int = 3, pushing: Pushing | None = None
    ) -> None:
        self._folder = folder
        self._url = url
        self._pushing = pushing or Pushing()
        self._processes = [self._started(writer) for writer in range(writers)]

    def _started(self, writer: int) -> BaseProcess:
        process = _PROCESSES.Process(
            target=write_noting_errors,
            args=(self._url, writer, self._folder, self._pushing),
            daemon=True,
        )
        process.start()
        return process

    def _file(self, writer: int) -> Path:
        return self._folder / f"acknowledged-{writer}"

    def acknowledged(self) -> list[tuple[int, float]]:
        """(first number, time) of all batches whose push returned."""
        found: list[tuple[int, float]] = []
        for writer in range(len(self._processes)):
            file = self._file(writer)
            lines = file.read_text().splitlines(keepends=True) if file.exists() else []
            for line in lines:
                if line.endswith("\n"):
                    first, when = line.split()
                    found.append((int(first), float(when)))
        return found

    def until_more(self, batches: int, deadline_s: float = 60.0) -> None:
        """Wait until so many more batches are acknowledged, and some of each writer."""
        wanted = len(self.acknowledged()) + batches
        deadline = time.monotonic() + deadline_s
        while len(self.acknowledged()) < wanted or not self._all_began():
            assert time.monotonic() < deadline, f"no {batches} more batches: {self.logs()}"
            for process in self._processes:
                assert process.exitcode is None, f"a writer ended: {self.logs()}"
            time.sleep(0.02)

    def _all_began(self) -> bool:
        files = [self._file(writer) for writer in range(len(self._processes))]
        return all(file.exists() and file.stat().st_size for file in files)

    def kill(self, writer: int) -> None:
        """kill -9 of a writer, and another in its place."""
        process = self._processes[writer]
        process.kill()
        process.join(10)
        self._processes[writer] = self._started(writer)

    def stop(self, deadline_s: float = 60.0) -> None:
        """Have all end; none may have failed."""
        (self._folder / "stop").touch()
        for process in self._processes:
            process.join(deadline_s)
        codes = [process.exitcode for process in self._processes]
        assert codes == [0] * len(codes), self.logs()

    def end(self) -> None:
        """Whatever happened: no writer stays."""
        for process in self._processes:
            process.kill()
            process.join(10)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("writer-*.log"))

    def account(self, client: ServerClient) -> Account:
        """Compare what was acknowledged with what the server has."""
        numbers = Counter(self._counted(client))
        acknowledged = self.acknowledged()
        sent = [first + place for first, _ in acknowledged for place in range(EPISODES)]
        batches = Counter(number // EPISODES for number in numbers)
        bank = Bank(client, RUN, BankConfig())
        problems = list(bank.verify().problems)
        statistics = bank.statistics()
        submitted = sum(each.submitted for each in statistics.banks)
        for what, found, expected in (
            ("episodes finished", statistics.finished, len(numbers)),
            ("procedures", submitted, self._pushing.decisions * len(numbers)),
        ):
            if found != expected:
                problems.append(f"{what} are {found}, but should be {expected}")
        times = sorted(when for _, when in acknowledged)
        return Account(
            acknowledged=len(sent),
            counted=len(numbers),
            lost=sum(number not in numbers for number in sent),
            doubled=sum(times > 1 for times in numbers.values()),
            torn=sum(episodes != EPISODES for episodes in batches.values()),
            problems=tuple(problems),
            longest_gap_s=max((b - a for a, b in pairwise(times)), default=0.0),
        )

    def _counted(self, client: ServerClient) -> Iterator[int]:
        log = OutcomeLog(client, RUN, self._pushing.domains)
        cursor: dict[str, int] = {}
        while True:
            events, cursor = log.read(cursor, 5000)
            if not events:
                return
            for event in events:
                if isinstance(event, EpisodeEvent):
                    yield event.episode.episode
