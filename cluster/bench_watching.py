"""`nesypr bench watching`: what it costs a run that its page is looked at.

The same short run, watched and not, in turn, which comes first changing from pair to pair. A
watched run has its page with a reader that asks for everything at first and then takes every event,
as a browser does; the other has no page. Tasks/s count from the first episode's end to the last
one's, so that starting is not among them. On few cores runs differ by more than a page costs:
beside the ratio of the medians stands the page's own processor time as a share of what the
machine's cores had to give while it was watched, which no neighbour changes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.ray_session import house
from cluster.resources import descendants
from configs.errors import NesyprError

PAIRS_VARIABLE = "NESYPR_BENCH_WATCHING_PAIRS"
PAIRS = 3
TASKS = 3000
_PHASES = (
    "stream.phases=[{{name: all, tasks: {tasks}, domains: ["
    "{{name: ferry, size: {{cars: [2, 4], locations: [3, 5]}}}}, "
    "{{name: gripper, size: {{balls: [2, 4], rooms: [2, 4]}}}}]}}]"
)
"""Else as configs/smoke.yaml, which has too few different tasks for a run of minutes."""
DEADLINE_S = 600.0
_PAGE = b"cluster.dashboard.beside"
_TICKS = os.sysconf("SC_CLK_TCK")


class WatchingError(NesyprError):
    """A run of the benchmark failed."""


@dataclass(frozen=True, slots=True)
class _Ran:
    tasks_s: float
    acted_s: float
    page_s: float  # processor time of the page
    events: int  # that the reader was sent


def bench_watching() -> dict[str, Any]:
    """Tasks/s watched and not, their ratio by pairs, and the page's share of the processors.

    NESYPR_BENCH_WATCHING_PAIRS says how many pairs there are. Raises WatchingError.
    """
    pairs = int(os.environ.get(PAIRS_VARIABLE, PAIRS))
    found: list[tuple[_Ran, _Ran]] = []
    with tempfile.TemporaryDirectory() as root:
        for pair in range(pairs):
            ran: dict[bool, _Ran] = {}
            for watched in (True, False) if pair % 2 else (False, True):
                ran[watched] = _run(Path(root), f"pair-{pair}-{watched}".lower(), watched)
            found.append((ran[True], ran[False]))
    cores = os.cpu_count() or 1
    shares = [watched.page_s / (watched.acted_s * cores) for watched, _ in found]
    ratios = [watched.tasks_s / alone.tasks_s for watched, alone in found]
    return {
        "pairs": pairs,
        "tasks": TASKS,
        "watched_tasks_s": statistics.median(watched.tasks_s for watched, _ in found),
        "alone_tasks_s": statistics.median(alone.tasks_s for _, alone in found),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "page_processor_share": statistics.median(shares),
        "page_processor_shares": shares,
        "events_sent": statistics.median(watched.events for watched, _ in found),
        "cores": cores,
        "load": os.getloadavg()[0],
    }


def _run(root: Path, name: str, watched: bool) -> _Ran:
    settings = (
        f"folder={root}",
        f"name={name}",
        _PHASES.format(tasks=TASKS),
        f"monitoring.dashboard={str(watched).lower()}",
    )
    words = [word for setting in settings for word in ("--set", setting)]
    log = root / f"{name}.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.main", "run", "smoke", *words],
            cwd=house(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    reader = _Reader(name) if watched else None
    page_s, deadline = 0.0, time.monotonic() + DEADLINE_S
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise WatchingError(f"a run takes longer than {DEADLINE_S:.0f} s; see {log}")
            if reader is not None:
                reader.begin(log.read_text(encoding="utf-8"))
                page_s = max(page_s, _page_seconds(process.pid))
            time.sleep(0.25)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
    if process.returncode != 0:
        raise WatchingError(f"a run failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    lines = (root / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ends = [event["at"] for event in map(json.loads, lines) if event["event"] == "episode"]
    if reader is not None and not reader.events:
        raise WatchingError(f"the page of {name} sent nothing: {reader.trouble or log}")
    acted_s = ends[-1] - ends[0]
    return _Ran(len(ends) / acted_s, acted_s, page_s, reader.events if reader else 0)


class _Reader:
    """Looks at a page as a browser does, in a thread that ends with the page."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._thread: threading.Thread | None = None
        self.events = 0
        self.trouble = ""

    def begin(self, printed: str) -> None:
        """Begin once the run has printed its page's address."""
        if self._thread is None:
            lines = (line.split() for line in printed.splitlines())
            address = next((words[1] for words in lines if words[:1] == ["page"]), None)
            if address is not None:
                self._thread = threading.Thread(target=self._read, args=(address,), daemon=True)
                self._thread.start()

    def _read(self, address: str) -> None:
        run = f"{address.rstrip('/')}/api/runs/{self._run}"
        try:
            with urllib.request.urlopen(run, timeout=60) as state:
                state.read()
            with urllib.request.urlopen(f"{run}/events", timeout=60) as stream:
                for line in stream:
                    self.events += line.startswith(b"data:")
        except (urllib.error.URLError, OSError) as error:
            self.trouble = str(error)  # the run ended; if before any event, that is told


def _page_seconds(run: int) -> float:
    """Processor seconds so far of the run's page."""
    for process in descendants(run):
        try:
            if _PAGE in Path(f"/proc/{process}/cmdline").read_bytes():
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / _TICKS
        except OSError:
            continue
    return 0.0
