"""One run as the page shows it: its files go in through cursors, a snapshot or what changed comes
out.

Every figure has the name that it has in `summary.json` (`whole.book.perplexity`), and is made by
the same code. Episodes and plans, nearly all lines of a log, are only counted; all else goes
through `SummaryBuilder` as it does in the run itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from cluster.dashboard.alarms import AlarmBook
from cluster.dashboard.code_use import CodeUse
from cluster.dashboard.episodes import KeptEpisodes
from cluster.dashboard.stream_window import NAMES as STREAM_NAMES
from cluster.dashboard.stream_window import StreamWindow
from cluster.dashboard.table import Table
from cluster.dashboard.tail import Tail
from cluster.figures import SummaryBuilder
from cluster.metrics_log import EVENT
from cluster.observer import BankMeasured, ResourcesMeasured, RunFinished, VersionPublished
from cluster.progress import Standing
from cluster.run_folder import RunFolder
from tasks import metrics

BUCKETS = 400
"""A plot gets at most twice as many points a line."""
LOOK_EVERY_S = 2.0
"""How often the folder's lock is looked at, which says whether the run goes on."""

VERSION_NAMES = (
    *("tasks", "version", "loss", "codes_used", "codes_dead", "codes_revived", "perplexity"),
    *("quantisation_error", "quantisation_error_new", "quantisation_error_old"),
)
BANK_FIGURES = ("entries", "unique", "submitted", "admitted", "duplicates", "retired", "bytes")
BANK_NAMES = (
    "tasks",
    *(f"{name}_{sign}" for name in BANK_FIGURES for sign in ("success", "failure")),
)
HEALTH_NAMES = ("tasks", "learner_age_s", "server_answer_s", "server_bytes", "actors_up")
RESOURCE_NAMES = ("tasks", "actor_mb", "learner_mb", "driver_mb", "total_mb")
TABLES = {
    "stream": STREAM_NAMES,
    "version": VERSION_NAMES,
    "bank": BANK_NAMES,
    "health": HEALTH_NAMES,
    "resources": RESOURCE_NAMES,
}

Cursor = dict[str, int]
"""How many rows of each table somebody has, and the revision of each part."""


class RunView:
    """A run's folder, read a little at a time by `read`; not for several threads."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.codes = CodeUse()
        self.kept = KeptEpisodes(folder.episodes_file)
        self.alarms = AlarmBook()
        self._tail = Tail(folder.metrics_file)
        self._tables = {name: Table(columns) for name, columns in TABLES.items()}
        self._builder = SummaryBuilder()
        self._standing = Standing()
        self._window = StreamWindow()
        self._episodes = bytearray()
        self._planned = bytearray()
        self._versions: set[int] = set()
        self._sums: dict[int, list[float]] = {}  # a phase's tasks, solved, met, steps, accepted
        self._health: dict[str, Any] = {}
        self._banks: list[dict[str, Any]] = []
        self._phases: list[dict[str, Any]] = []
        self._done = 0
        self._started: float | None = None
        self._last_time: float | None = None
        self._seconds = 0.0
        self._summary: dict[str, Any] | None = None
        self._summed = -1
        self._lines = 0
        self._rares = 0
        self._state = folder.state()
        self._looked = time.monotonic()

    # -- reading --------------------------------------------------------------------------------

    def read(self, budget_s: float) -> bool:
        """Take in new lines for about so long; whether more is waiting."""
        for _, values in self._tail.lines(budget_s):
            self._take(values)
        return self._tail.behind

    @property
    def state(self) -> str:
        """running, finished, stopped, failed or unfinished."""
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._state = self.folder.state()
        return self._state

    def _take(self, values: dict[str, Any]) -> None:
        try:
            kind, at, stamp = values["event"], float(values["at"]), float(values["time"])
        except (KeyError, TypeError, ValueError):
            self._tail.broken += 1
            return
        self._lines += 1
        self._started = stamp if self._started is None else self._started
        self._last_time, self._seconds = stamp, max(self._seconds, at)
        if kind == "episode":
            self._episode(values, at)
        elif kind == "planned":
            if _first(self._planned, values["task_index"]):
                self._builder.tally(values["phase"]).plan(
                    values["status"], values["cached"], values["seconds"]
                )
        elif kind == "codes":
            self.codes.take(values)
        else:
            self._rare(kind, values, at)
        self.alarms.take(values)

    def _episode(self, event: dict[str, Any], at: float) -> None:
        if not _first(self._episodes, event["episode"]):
            return
        self._done += 1
        self._builder.tally(event["phase"]).count(
            event["decisions"],
            event["hits_success"],
            event["hits_failure"],
            event["staleness"],
            event["seconds"],
            at,
        )
        conditions = event["conditions"]
        met = event["conditions_met"] / conditions if conditions else 1.0
        sums = self._sums.setdefault(event["phase"], [0.0] * 5)
        for place, value in enumerate(
            (1, event["success"], met, event["steps"], event["accepted"])
        ):
            sums[place] += value
        self._tables["stream"].add(self._window.add(event))

    def _rare(self, kind: str, values: dict[str, Any], at: float) -> None:
        plain = {key: value for key, value in values.items() if key not in ("time", "at")}
        try:
            event = EVENT.validate_python(plain)
        except ValidationError:
            self._tail.broken += 1
            return
        self._rares += 1
        self._builder.observe(event, at)
        self._standing.update(event, at)
        if kind == "phase_started":
            known = {one["phase"] for one in self._phases}
            if plain["phase"] not in known:
                self._phases.append({**plain, "first_task": self._done})
        elif isinstance(event, VersionPublished):
            if event.steps and event.version not in self._versions:
                self._versions.add(event.version)
                row = {"tasks": self._done, **plain}
                self._tables["version"].add([row.get(name) for name in VERSION_NAMES])
        elif isinstance(event, BankMeasured):
            self._banks = plain["banks"]
            self._tables["bank"].add([self._done, *_sums_by_sign(self._banks)])
        elif isinstance(event, ResourcesMeasured):
            self._tables["resources"].add(
                [self._done, *(getattr(event, name) for name in RESOURCE_NAMES[1:])]
            )
        elif kind == "health":
            self._health = {**plain, "time": values["time"]}
            up = sum(actor["up"] for actor in plain["actors"])
            self._tables["health"].add(
                [self._done, *(plain[name] for name in HEALTH_NAMES[1:4]), up]
            )
        elif isinstance(event, RunFinished):
            self._looked = 0.0

    # -- what is shown --------------------------------------------------------------------------

    def summary(self) -> dict[str, Any] | None:
        """`summary.json` as far as the events tell it by now; CSR, CGC and Exe of the stream are
        without intervals but for CSR, and SPL is left out."""
        if self._summed != self._lines:
            self._summed = self._lines
            made = self._builder.build(self._started or 0.0)
            self._summary = None if made is None else made.model_dump(mode="json")
            if self._summary is not None:
                sums = [sum(column) for column in zip(*self._sums.values())]
                self._summary["whole"]["stream"] = _measures(sums)
                for phase in self._summary["phases"]:
                    phase["stream"] = _measures(self._sums.get(phase["phase"], []))
        return self._summary

    def figures(self) -> dict[str, Any]:
        """Every figure by its name in `summary.json`, such as `whole.banks.success.entries`."""
        summary = self.summary() or {}
        wanted = ("tasks", "tasks_done", "version", "seconds", "starts", "outcome", "alarms_raised")
        parts = {name: summary[name] for name in wanted if name in summary}
        for name in ("whole", "continual", "memory", "accounting", "model"):
            parts[name] = summary.get(name)
        return flat(parts)

    def health(self) -> dict[str, Any]:
        """Who is there, as last told, and when that was (Unix time)."""
        return self._health

    def last_event(self) -> float | None:
        """Unix time of the last event."""
        return self._last_time

    def now(self) -> dict[str, Any]:
        """The small things that change all the time."""
        tasks = self._standing.tasks
        row = self._tables["stream"].last()
        return {
            "name": self.folder.name,
            "state": self.state,
            "phase": self._standing.phase,
            "tasks": tasks,
            "tasks_done": self._done,
            "csr": row.get("csr"),
            "seconds": self._seconds,
            "last_event": self._last_time,
            "time": time.time(),
            "read": self._tail.read_share,
            "broken_lines": self._tail.broken,
            "points": sum(len(table) * (len(table.names) - 1) for table in self._tables.values()),
        }

    def update(self, cursor: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Everything (no cursor), or what is new since the cursor; with the cursor for next time.

        `tables` are to be appended, or where `fresh` names them, to be put in place of the old.
        """
        before = cursor or {}
        after: Cursor = {name: len(table) for name, table in self._tables.items()}
        after["alarms"] = self.alarms.changes
        after["rare"] = self._rares
        after["any"] = self._lines
        fresh = [
            name
            for name, table in self._tables.items()
            if name not in before or before[name] > len(table)  # of another server's reading
        ]
        found: dict[str, Any] = {"cursor": after, "now": self.now(), "fresh": fresh}
        found["tables"] = {
            name: table.rows(0 if name in fresh else before[name], BUCKETS)
            for name, table in self._tables.items()
            if name in fresh or len(table) > before[name]
        }
        if before.get("any") != after["any"]:
            found["figures"] = self.figures()
            found["health"] = self._health
        if before.get("alarms") != after["alarms"]:
            found["alarms"] = [alarm.as_dict() for alarm in self.alarms.alarms]
        if before.get("rare") != after["rare"]:
            found["banks"] = self._banks
            found["phases"] = self._phases
            found["probes"] = (self.summary() or {}).get("probes", [])
        return found

    def configuration(self) -> dict[str, Any]:
        """The resolved configuration, flat."""
        return flat(yaml.safe_load(self.folder.config_file.read_text(encoding="utf-8")))


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested objects and lists as one, its keys joined by dots."""
    if isinstance(values, dict):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and values and isinstance(values[0], dict | list):
        items = [(str(place), value) for place, value in enumerate(values)]
    else:
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def _measures(sums: Sequence[float]) -> dict[str, Any] | None:
    """CSR, CGC and Exe from a count of tasks, of those solved, of conditions met (in shares), of
    actions and of accepted ones."""
    if not sums:
        return None
    tasks, solved, met, steps, accepted = sums
    csr = metrics.share(int(solved), int(tasks))
    return {
        "tasks": int(tasks),
        "csr": csr and {"value": csr.value, "low": csr.low, "high": csr.high},
        "cgc": {"value": met / tasks},
        "exe": {"value": accepted / steps} if steps else None,
    }


def _first(seen: bytearray, number: int) -> bool:
    """Whether the number comes for the first time; it is noted."""
    if number >= len(seen):
        seen.extend(bytes(max(1024, number + 1 - len(seen), len(seen))))
    was, seen[number] = seen[number], 1
    return not was


def _sums_by_sign(banks: list[dict[str, Any]]) -> list[int]:
    return [
        sum(bank[name] for bank in banks if bank["sign"] == sign)
        for name in BANK_FIGURES
        for sign in ("success", "failure")
    ]
