"""Writing to a bank: entries a second with and without persistence, and when others see them.

Part of `nesypr bench bank`; by itself `python -m cluster.bench_ingest [entries]`. Writers are
processes of their own that push whole episodes, as actors do, to an embedded server: 10 decisions
an episode, 64 codes (K = 256) and a prompt of 60 tokens that grows by 12 a decision; pushes of 64
episodes, and of one. A stated share of the entries repeats an earlier one. Every entry goes through
all of the bank: counted once by its episode, compared, admitted or counted, told to replicas and in
the outcome log. The peer in the same run is what Redis does with the bare records: pipelined XADD
of each entry's codes, action and prompt, 640 a pipeline, without comparing or counting anything.

- Rates are medians of several runs by the clock, with `load` beside them: on a busy machine they
  say little, and the microseconds of processor time an entry say more (server and writer apart).
- "none" is without an append-only file; "everysec" is what runs use.
- Visible: from the call of a push at 5,000 entries a second to the moment another process has it in
  its replica, which it refreshes all the time with a pause of 2 ms.
- Server memory is what the server takes more after all entries, different ones, log and outcome
  log included (`outcome_bytes` of it are the latter, which a run's driver trims).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
import redis

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.codec import pack_codes
from shared_memory.connection import call, call_all, connect
from shared_memory.keys import RunKeys
from shared_memory.records import Decision, Episode
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.token_packing import pack_tokens

CHUNKS, CODES = 64, 256
DECISIONS = 10
PROMPT, GROWTH = 60, 12
VOCABULARY = 250
ACTIONS = 200
EPISODES_A_PUSH = 64
ENTRIES = 60_000
MEMORY_ENTRIES = 100_000
DUPLICATES = (0.0, 0.5, 0.9)
RUNS = 3
VISIBLE_RATE = 5000
VISIBLE_S = 3.0
_VISIBLE_EPISODES = 8
_PAUSE_S = 0.002
_DEADLINE_S = 300.0

Persistence = Literal["none", "everysec"]
PERSISTENCES: tuple[Persistence, ...] = ("none", "everysec")
_RUN = "bench"
_BANK = BankConfig(max_entries=10_000_000, max_bytes=2**40)


@dataclass(frozen=True, slots=True)
class _Work:
    """What one writer process is to do."""

    url: str
    first: int  # its first episode's number
    episodes: int
    a_push: int
    duplicates: float
    way: Literal["bank", "xadd"]


Setting = tuple[Literal["bank", "xadd"], Persistence, float, int, int]
"""Way to write, persistence, share of duplicates, writers, episodes a push."""
SETTINGS: tuple[Setting, ...] = (
    *(("bank", how, share, 2, EPISODES_A_PUSH) for how in PERSISTENCES for share in DUPLICATES),
    *(("bank", how, 0.5, 1, EPISODES_A_PUSH) for how in PERSISTENCES),
    *(("bank", how, 0.5, 2, 1) for how in PERSISTENCES),
    *(("xadd", how, 0.0, 2, EPISODES_A_PUSH) for how in PERSISTENCES),
)


def measure_ingest(
    entries: int = ENTRIES,
    memory_entries: int = MEMORY_ENTRIES,
    settings: Sequence[Setting] = SETTINGS,
    runs: int = RUNS,
    visible_s: float = VISIBLE_S,
) -> list[dict[str, Any]]:
    """A row for each setting; then what is visible when, and what the server takes."""
    taken: dict[Setting, list[dict[str, float]]] = {}
    with _writers(max(setting[3] for setting in settings)) as pipes:
        for _ in range(runs):
            for setting in settings:
                taken.setdefault(setting, []).append(_write(setting, entries, pipes))
    rows: list[dict[str, Any]] = []
    for (way, persistence, share, writers, a_push), found in taken.items():
        row: dict[str, Any] = {"way": "bank" if way == "bank" else "plain XADD"}
        row |= {"persistence": persistence, "duplicates": share, "writers": writers}
        row |= {"episodes_a_push": a_push, "runs": runs}
        row |= {name: statistics.median(run[name] for run in found) for name in found[0]}
        rows.append(row)
    rows.append(visible(visible_s))
    rows.append(server_memory_an_entry(memory_entries))
    return rows


def visible(seconds: float = VISIBLE_S) -> dict[str, Any]:
    """Milliseconds from the call of a push to its entries in another process's replica."""
    with _server("everysec") as server:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        reader = context.Process(target=_read_along, args=(server.url, theirs), daemon=True)
        reader.start()
        try:
            with closing(connect(SharedMemoryConfig(), server.url)) as client:
                bank = Bank(client, _RUN, _BANK)
                a_push = _VISIBLE_EPISODES * DECISIONS
                pushes = int(seconds * VISIBLE_RATE / a_push)
                episodes = _episodes(0, (pushes + 1) * _VISIBLE_EPISODES, 0.5)
                bank.push(episodes[:_VISIBLE_EPISODES])
                _answer(mine)  # the reader has the first batch
                begun, called = time.monotonic(), []
                for number in range(1, pushes + 1):
                    time.sleep(max(0.0, begun + number * a_push / VISIBLE_RATE - time.monotonic()))
                    called.append(time.monotonic())
                    first = number * _VISIBLE_EPISODES
                    bank.push(episodes[first : first + _VISIBLE_EPISODES])
                took = time.monotonic() - begun
                last = int(call(client, "HGET", RunKeys(_RUN).domain("bench").counters, "log"))
            mine.send(last)
            seen: list[tuple[int, float]] = _answer(mine)
        finally:
            reader.join(10)
            if reader.is_alive():
                reader.kill()
        delays = []
        for number, start in enumerate(called, 2):  # every push is one batch of the log
            delays.append(1000 * (next(at for up_to, at in seen if up_to >= number) - start))
    return {
        "way": "written to visible",
        "persistence": "everysec",
        "entries_a_s": pushes * a_push / took,
        "pushes": pushes,
        "p50_ms": float(np.quantile(delays, 0.5)),
        "p99_ms": float(np.quantile(delays, 0.99)),
        "load": os.getloadavg()[0],
    }


def server_memory_an_entry(entries: int = MEMORY_ENTRIES) -> dict[str, Any]:
    """What the server takes for so many different entries, by its own account."""
    with (
        _server("none") as server,
        closing(connect(SharedMemoryConfig(), server.url)) as client,
    ):
        keys, bank = RunKeys(_RUN).domain("bench"), Bank(client, _RUN, _BANK)
        before = int(call(client, "INFO", "memory")["used_memory"])
        outcomes, some = 0, 100 * EPISODES_A_PUSH
        for first in range(0, entries // DECISIONS, some):
            episodes = _episodes(first, min(some, entries // DECISIONS - first), 0.0)
            for start in range(0, len(episodes), EPISODES_A_PUSH):
                bank.push(episodes[start : start + EPISODES_A_PUSH])
            outcomes += int(call(client, "MEMORY", "USAGE", keys.outcomes, "SAMPLES", 0))
            call(client, "XTRIM", keys.outcomes, "MAXLEN", 0)
        after = int(call(client, "INFO", "memory")["used_memory"])
        log = int(call(client, "MEMORY", "USAGE", keys.log, "SAMPLES", 0))
        total = bank.statistics().total("success")
    return {
        "way": "server memory",
        "entries": total.entries,
        "bytes_an_entry": (after - before - log) / total.entries,
        "metered_bytes_an_entry": total.bytes / total.entries,
        "log_bytes": log,
        "outcome_bytes_an_entry": outcomes / total.entries,
    }


def ingest_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The rows for people, one line each."""
    for row in rows:
        words = [str(value) for value in row.values() if isinstance(value, str)]
        numbers = [
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in row.items()
            if not isinstance(value, str)
        ]
        yield ", ".join((*words, *numbers))


@contextmanager
def _writers(count: int) -> Iterator[list[Connection]]:
    """So many processes that write what they are told, by the pipes to them."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(count):
        mine, theirs = context.Pipe()
        process = context.Process(target=_writer, args=(theirs,), daemon=True)
        process.start()
        pipes.append(mine)
        processes.append(process)
    try:
        yield pipes
    finally:
        for pipe in pipes:
            pipe.send(None)
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()


def _write(setting: Setting, entries: int, pipes: Sequence[Connection]) -> dict[str, float]:
    """One run: several processes write; rates and processor time an entry."""
    way, persistence, duplicates, writers, a_push = setting
    episodes = entries // DECISIONS // writers
    with (
        _server(persistence) as server,
        closing(connect(SharedMemoryConfig(), server.url)) as client,
    ):
        for writer, pipe in enumerate(pipes[:writers]):
            first = writer * episodes
            pipe.send(_Work(server.url, first, episodes, a_push, duplicates, way))
        for pipe in pipes[:writers]:
            _answer(pipe)  # it is ready
        before, begun = _server_cpu(client), time.perf_counter()
        for pipe in pipes[:writers]:
            pipe.send("go")
        spent = [_answer(pipe) for pipe in pipes[:writers]]
        took, after = time.perf_counter() - begun, _server_cpu(client)
        written, found = writers * episodes * DECISIONS, 0.0
        if way == "bank":
            total = Bank(client, _RUN, _BANK).statistics().total("success")
            if total.submitted != written or total.admitted + total.duplicates != written:
                raise AssertionError(f"{written} entries were written, but {total} counted")
            found = total.duplicates / written
        return {
            "entries_a_s": written / took,
            "found_duplicates": found,
            "server_us_an_entry": 1e6 * (after - before) / written,
            "writer_us_an_entry": 1e6 * sum(spent) / written,
            "load": os.getloadavg()[0],
        }


def _writer(pipe: Connection) -> None:
    """Write what comes through the pipe, until nothing does any more."""
    while True:
        work: _Work | None = pipe.recv()
        if work is None:
            return
        episodes = _episodes(work.first, work.episodes, work.duplicates)
        with closing(connect(SharedMemoryConfig(), work.url)) as client:
            write = _bank_writer(client) if work.way == "bank" else _plain_writer(client)
            pipe.send("ready")
            _answer(pipe)
            begun = time.process_time()
            for first in range(0, len(episodes), work.a_push):
                write(episodes[first : first + work.a_push])
            pipe.send(time.process_time() - begun)


def _bank_writer(client: redis.Redis) -> Callable[[Sequence[Episode]], object]:
    return Bank(client, _RUN, _BANK).push


def _plain_writer(client: redis.Redis) -> Callable[[Sequence[Episode]], object]:
    stream = RunKeys(_RUN).domain("bench").log

    def write(episodes: Sequence[Episode]) -> None:
        call_all(
            client,
            [
                (
                    *("XADD", stream, "*", "c", pack_codes(decision.codes)),
                    *("a", decision.action, "p", pack_tokens(decision.prompt_tokens)),
                )
                for episode in episodes
                for decision in episode.decisions
            ],
        )

    return write


def _read_along(url: str, pipe: Connection) -> None:
    """Refresh a replica all the time; then tell which batch was there when."""
    with closing(connect(SharedMemoryConfig(), url)) as client:
        replica = BankReplica(client, _RUN, ["bench"], _BANK)
        while replica.position("bench") < 1:
            replica.refresh()
            time.sleep(_PAUSE_S)
        pipe.send("ready")
        seen: list[tuple[int, float]] = []
        last, deadline = None, time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            replica.refresh()
            if not seen or replica.position("bench") > seen[-1][0]:
                seen.append((replica.position("bench"), time.monotonic()))
            if last is None and pipe.poll():
                last = pipe.recv()
            if last is not None and replica.position("bench") >= last:
                break
            time.sleep(_PAUSE_S)
        pipe.send(seen)


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_DEADLINE_S):
        raise TimeoutError(f"a process of the bench did not answer within {_DEADLINE_S:g} s")
    return pipe.recv()


@contextmanager
def _server(persistence: Persistence) -> Iterator[EmbeddedServer]:
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-bench-") as folder,
        EmbeddedServer(folder, fsync="everysec") as server,
    ):
        if persistence == "none":
            with closing(connect(SharedMemoryConfig(), server.url)) as client:
                call(client, "CONFIG", "SET", "appendonly", "no")
        yield server


def _server_cpu(client: redis.Redis) -> float:
    spent = call(client, "INFO", "cpu")
    return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])


def _episodes(first: int, count: int, duplicates: float) -> list[Episode]:
    """Episodes numbered from `first`; of their entries that share repeats an earlier one."""
    random = np.random.default_rng([first, count])
    total = count * DECISIONS
    rows = random.integers(0, CODES, (total, CHUNKS), dtype=np.uint16)
    actions = random.integers(0, ACTIONS, total)
    source = np.arange(total)
    repeated = np.flatnonzero(random.random(total) < duplicates)
    repeated = repeated[repeated > 0]
    for place in repeated.tolist():
        source[place] = source[random.integers(0, place)]
    rows, actions = rows[source], actions[source]
    longest = PROMPT + GROWTH * (DECISIONS - 1)
    made = []
    for number in range(count):
        tokens = tuple(random.integers(0, VOCABULARY, longest).tolist())
        made.append(
            Episode(
                episode=first + number,
                task_index=first + number,
                task_digest=f"{first + number:032x}",
                domain="bench",
                phase=0,
                book_version=1,
                success=True,
                conditions_met=1,
                conditions=1,
                steps=DECISIONS,
                decisions=tuple(
                    Decision(
                        place,
                        rows[number * DECISIONS + place],
                        f"stack block{actions[number * DECISIONS + place]} block7",
                        True,
                        tokens[: PROMPT + GROWTH * place],
                    )
                    for place in range(DECISIONS)
                ),
                actor="bench",
                seconds=0.0,
                hits_success=0,
                hits_failure=0,
            )
        )
    return made


def main() -> None:
    """Print the rows; the argument is the number of entries of a run."""
    entries = int(float(sys.argv[1])) if len(sys.argv) > 1 else ENTRIES
    rows = measure_ingest(entries)
    for line in ingest_lines(rows):
        sys.stdout.write(line + "\n")
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
