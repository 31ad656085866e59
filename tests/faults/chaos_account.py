"""What became of a run among faults: by its own account, its log of events, and the banks.

Three books that are kept apart: `summary.json` (the driver against shared memory, banks read
back), `metrics.jsonl` (every episode that was told of), and what a witness read from the outcome
log on the server while the run went on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

import redis
from fault_injection import Struck
from kept_run import MAX_STALENESS, KeptRun

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.errors import SharedMemoryError
from shared_memory.outcomes import EpisodeEvent, OutcomeLog

DOMAINS = ("blocks", "gripper")
_FORCED_WITHIN_S = 90.0


@dataclass(slots=True)
class Witness:
    """Reads the outcome log beside the driver; misses only what is trimmed before it looks."""

    url: str
    run: str = ""
    seen: Counter[int] = field(default_factory=Counter)  # times that an episode was in the log
    lost: list[str] = field(default_factory=list)  # that the log is shorter than it was
    _cursor: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        """Read on; nothing where the server is away."""
        try:
            with closing(
                connect(SharedMemoryConfig(timeout_s=2.0), self.url, patience_s=0.1)
            ) as client:
                if not self.run:
                    self.run = _run_name(client)
                if self.run:
                    self._read(OutcomeLog(client, self.run, DOMAINS))
        except (SharedMemoryError, redis.RedisError):
            return

    def _read(self, log: OutcomeLog) -> None:
        try:
            events, self._cursor = log.read(self._cursor)
        except SharedMemoryError as error:
            if "lost data" in str(error):
                self.lost.append(str(error))
            elif "gone from the outcome log" not in str(error):
                raise
            self._cursor = log.last()  # the driver had read and trimmed them
            return
        for event in events:
            if isinstance(event, EpisodeEvent):
                self.seen[event.episode.episode] += 1


def _run_name(client: redis.Redis) -> str:
    """The unique name of the one run on the server."""
    for key in client.scan_iter(match="*", count=1000):
        words = re.search(rb"(chaos-[0-9a-f]{8})", key)
        if words:
            return words[1].decode()
    return ""


@dataclass(frozen=True, slots=True)
class ChaosAccount:
    """The figures; `problems` is empty where all is as it must be."""

    episodes: int
    tasks_acted_twice: int
    witnessed: int
    versions: int
    staleness: dict[int, int]
    longest_gap_s: float
    starts: int
    unforced_ends: tuple[str, ...]
    problems: tuple[str, ...]


def account(run: KeptRun, witness: Witness, struck: Sequence[Struck], gap_s: float) -> ChaosAccount:
    """Compare the three books. `gap_s`: the longest that nothing may happen."""
    summary, problems = run.summary(), []
    books = summary["accounting"]
    problems += [*books["problems"], *witness.lost]
    if summary["outcome"] != "finished" or not books["closes"]:
        problems.append(f"the run ended as {summary['outcome']}, closes: {books['closes']}")
    told: dict[int, dict[str, object]] = {}
    for event in run.events["episode"]:
        what = {name: event[name] for name in ("task_index", "version", "actor", "decisions")}
        what["procedures"] = event["decisions"] if event["version"] else 0  # 0: no code has a place
        if told.setdefault(event["episode"], what) != what:
            problems.append(f"episode {event['episode']} was told of in two ways")
    acted = Counter(int(str(what["task_index"])) for what in told.values())
    never = set(range(run.tasks)) - set(acted)
    if never:
        problems.append(f"tasks never acted: {sorted(never)[:10]}")
    lost = {number for number in witness.seen if number not in told}
    if lost:
        problems.append(f"episodes that the server had, and nobody told of: {sorted(lost)[:10]}")
    doubled = {number for number, times in witness.seen.items() if times > 1}
    if doubled:
        problems.append(f"episodes that were in the log twice: {sorted(doubled)[:10]}")
    with closing(connect(SharedMemoryConfig(), witness.url)) as client:
        bank = Bank(client, witness.run, BankConfig())
        verified = bank.verify()
        statistics = bank.statistics()
    problems += verified.problems
    procedures = sum(int(str(what["procedures"])) for what in told.values())
    submitted = sum(each.submitted for each in statistics.banks)
    found = sum(each.admitted + each.duplicates for each in statistics.banks)
    for what_is, one, other in (
        ("episodes told of, and in the banks", len(told), statistics.finished),
        ("episodes told of, and in the summary", len(told), books["episodes_finished"]),
        ("procedures told of, and submitted to the banks", procedures, submitted),
        ("procedures submitted, and admitted or duplicate", submitted, found),
    ):
        if one != other:
            problems.append(f"{what_is}: {one} and {other}")
    staleness = Counter(event["staleness"] for event in run.events["episode"])
    if max(staleness, default=0) > MAX_STALENESS:
        problems.append(f"staleness past its bound of {MAX_STALENESS}: {dict(staleness)}")
    versions = [event["version"] for event in run.events["version"]]
    if any(b <= a for a, b in pairwise(versions)):
        problems.append(f"versions did not only rise: {versions}")
    gap = longest_gap(run)
    if gap > gap_s:
        problems.append(f"nothing happened for {gap:.0f} s")
    return ChaosAccount(
        episodes=len(told),
        tasks_acted_twice=sum(times > 1 for times in acted.values()),
        witnessed=len(witness.seen),
        versions=len(versions),
        staleness=dict(sorted(staleness.items())),
        longest_gap_s=gap,
        starts=run.starts,
        unforced_ends=tuple(
            f"{end.code} on {end.host}: {end.words[-300:]}"
            for end in run.ends
            if end.code and not forced(end.when, struck)
        ),
        problems=tuple(problems),
    )


def forced(when: float, struck: Sequence[Struck]) -> bool:
    """Whether a fault took the driver with it that ended then."""
    return any(each.with_driver and 0.0 <= when - each.when <= _FORCED_WITHIN_S for each in struck)


def longest_gap(run: KeptRun) -> float:
    """The longest time in which no episode, version or probe was told of, in seconds."""
    kinds = ("run_started", "episode", "version", "probe")
    times = sorted(event["time"] for kind in kinds for event in run.events[kind])
    return max((b - a for a, b in pairwise(times)), default=0.0)
