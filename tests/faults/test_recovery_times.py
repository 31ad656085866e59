"""How long a run on three hosts takes to be itself again after each kind of fault.

`make recovery` prints the times with the machine's load; the bounds are those of a machine with
nothing else to do, and are held to by a factor of `SLOWER` only. Behind the `slow` marker.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_cluster import ChaosCluster
from fault_injection import strike
from fault_schedule import Fault, FaultKind
from kept_run import KeptRun
from network_hosts import why_not
from recovery import actors_back, first_after, settled

BOUNDS_S = {"actor": 10.0, "learner": 30.0, "host": 40.0, "server": 5.0}
TIMES = {"actor": 5, "learner": 3, "host": 3, "server": 5}
SLOWER = float(os.environ.get("SLOWER", "1"))
ACTORS, TASKS = 3, 30_000
DEADLINE_S = 300.0

reason = why_not() or (None if shutil.which("redis-server") else "needs redis-server")
pytestmark = [
    pytest.mark.skipif(reason is not None, reason=str(reason)),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]


@pytest.fixture
def cluster() -> Iterator[ChaosCluster]:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ChaosCluster(folder) as found:
        yield found
    if not os.environ.get("KEEP"):
        shutil.rmtree(folder)


def test_recovery_times(cluster: ChaosCluster) -> None:
    run = KeptRun(cluster, TASKS, seed=0, often=True)
    cluster.start()

    def until(true: Callable[[], float | None], what: str) -> float:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            cluster.tend()
            run.tend()
            found = true()
            if found is not None:
                return found
            assert time.monotonic() < deadline, f"no {what}:\n{run.tail()}"
            time.sleep(0.05)

    def is_settled() -> float | None:
        now = time.time()
        return now if settled(run, ACTORS, now, within_s=15.0) else None

    found: dict[FaultKind, list[float]] = {}
    kinds: tuple[FaultKind, ...] = ("actor", "learner", "server", "host")
    for kind in kinds:
        for number in range(TIMES[kind]):
            until(is_settled, "settled run")
            fault = Fault(number, kind, 0, 0.0, 2.0, number / TIMES[kind])
            if kind == "host" and run.host is not None:  # not the driver's
                away = cluster.workers.index(run.host) == 0
                fault = Fault(number, kind, 0, 0.0, 5.0, 0.99 if away else 0.0)
            struck = strike(fault, cluster, run)
            assert struck is not None, fault
            since = struck.when
            if kind == "server":
                since = until(
                    lambda: time.time() if cluster.bank_server_answers() else None, "server"
                )
                back = until(lambda: first_after(run.events["episode"], since), "episode")  # noqa: B023
            elif kind == "learner":
                back = until(lambda: first_after(run.events["version"], since), "version")  # noqa: B023
            else:
                back = until(lambda: actors_back(run, since), "replacement")  # noqa: B023
            found.setdefault(kind, []).append(back - since)
            load = os.getloadavg()[0]
            print(f"{kind}: {back - since:.1f} s, load {load:.1f}", file=sys.stderr, flush=True)  # noqa: T201
    print("| fault | median | longest | bound |\n|---|---|---|---|", file=sys.stderr)  # noqa: T201
    for kind, times in found.items():
        row = f"| {kind} | {statistics.median(times):.1f} s | {max(times):.1f} s "
        print(f"{row}| {BOUNDS_S[kind]:g} s |", file=sys.stderr)  # noqa: T201
    late = {kind: times for kind, times in found.items() if max(times) > SLOWER * BOUNDS_S[kind]}
    assert not late
