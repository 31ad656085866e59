"""A run on the cluster that is resumed, on whichever worker host has Ray, whenever its driver ends.

`tend` never waits. Events are read as they are appended to the run's `metrics.jsonl`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_cluster import HOUSE, ChaosCluster
from network_hosts import Host

DRIVER = f"{sys.executable} -m cluster.main"
NAME = "chaos"
MAX_STALENESS = 2
_CONFIG = """
name: {name}
seed: {seed}
address: {address}
stream:
  probe_tasks: 4
  step_limit: 10
  phases:
    - name: stacking
      tasks: {first}
      domains:
        - {{name: blocks, size: {{blocks: [3, 4]}}}}
    - name: both
      tasks: {second}
      domains:
        - {{name: gripper, size: {{balls: [1, 2]}}}}
        - {{name: blocks, size: {{blocks: [3, 4]}}}}
model:
  layers: 2
  width: 32
  heads: 2
  feed_forward: 64
  max_tokens: 128
  memory: {{slots: 4, width: 16, layer: 1, heads: 2}}
  book: {{codes: 16, width: 8}}
acting:
  actors: 3
  cpus: 1.0
  episodes: 8
  request_tasks: {request_tasks}
  request_deadline_s: 10.0
  restrict: true
shared_memory:
  url: {url}
teacher: {{time_limit_s: 2.0}}
distillation:
  batch_traces: 8
  steps_per_version: 2
  min_new_traces: 100000
  max_wait_s: {version_s}
  total_steps: 200
  warmup_steps: 5
  request_deadline_s: {stall_s}
  max_staleness: {max_staleness}
  tasks_per_version: {tasks_per_version}
monitoring: {{dashboard: false, episodes_every: 0}}
"""
VERSION_S = 4.0
"""How often there is a version, and so how fast a paced run goes: 16 tasks in so many seconds."""
STALL_S = 40.0


@dataclass(frozen=True, slots=True)
class End:
    """How a start of the driver ended."""

    when: float  # Unix time
    code: int
    host: str
    words: str  # the last of its output


class KeptRun:
    """The run; `tend` all the time.

    Its actors are paced by versions, so that a run of few tasks takes its time; `often`: by a
    version each second, with four tasks for each actor, so that nobody waits for long.
    """

    def __init__(self, cluster: ChaosCluster, tasks: int, seed: int, often: bool = False) -> None:
        self._cluster = cluster
        self._folder = cluster.folder
        self.path = cluster.folder / "runs" / NAME
        self.log = cluster.folder / "driver.log"
        self.tasks = tasks
        self.host: Host | None = None  # where the driver is
        self.ends: list[End] = []
        self.starts = 0
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.finished: set[int] = set()  # episodes
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0
        self._config = cluster.folder / "chaos.yaml"
        self._config.write_text(
            _CONFIG.format(
                name=NAME,
                seed=seed,
                request_tasks=4 if often else 8,
                tasks_per_version=12 if often else 16,
                address=cluster.address,
                url=cluster.bank_url,
                first=tasks // 2,
                second=tasks - tasks // 2,
                version_s=1.0 if often else VERSION_S,
                stall_s=STALL_S,
                max_staleness=MAX_STALENESS,
            )
        )

    @property
    def over(self) -> bool:
        """Whether the run finished."""
        return bool(self.ends) and self.ends[-1].code == 0

    def tend(self) -> None:
        """Note what happened; start the driver (again) where it is not there."""
        self._read_events()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            assert self.host is not None
            words = " ".join(self.log.read_text(errors="replace")[-600:].split())
            self.ends.append(End(time.time(), code, self.host.name, words))
            self._process = self.host = None
            self._next += 1
        if self.over:
            return
        workers = self._cluster.workers
        host = workers[self._next % len(workers)]
        if not self._cluster.ready(host):
            host = workers[(self._next + 1) % len(workers)]
        if self._cluster.ready(host) and self._cluster.ready(self._cluster.head):
            self._start(host)

    def driver(self) -> list[int]:
        """The driver's process, where it is there."""
        return [] if self.host is None else self.host.processes(DRIVER)[:1]

    def _start(self, host: Host) -> None:
        words = ["run", str(self._config)] if not (self.path / "config.yaml").exists() else []
        words = words or ["resume", NAME]
        environment = {
            **self._cluster.environment,
            "NESYPR__FOLDER": str(self._folder / "runs"),
        }
        self._process = host.start(
            [sys.executable, "-m", "cluster.main", *words], environment, self.log, HOUSE
        )
        self.host = host
        self.starts += 1

    def _read_events(self) -> None:
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                event = json.loads(line)
                self.events[event["event"]].append(event)
                if event["event"] == "episode":
                    self.finished.add(event["episode"])

    def last_progress(self) -> float:
        """When the run last got further (Unix time); 0 before it did."""
        kinds = ("episode", "version", "probe")
        return max(
            (self.events[kind][-1]["time"] for kind in kinds if self.events[kind]), default=0.0
        )

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "summary.json").read_text())
        return found

    def tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def state_of(process: int) -> str:
    """R, S, T (stopped), Z …; nothing where it is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]
