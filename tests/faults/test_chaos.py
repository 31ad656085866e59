"""A run on three hosts and a store, while a seeded schedule kills, stops and cuts off all it can.

`make chaos` has 40 faults and takes a quarter of an hour; `make chaos FAULTS=200 SEED=1` has more.
It prints what was struck, when the run went on, and the account. Behind the `slow` marker.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_account import Witness, account
from chaos_cluster import ChaosCluster
from fault_injection import Struck, strike
from fault_schedule import CUT_S, KINDS, schedule, tasks_for
from kept_run import STALL_S, KeptRun
from network_hosts import why_not

FAULTS, SEED = int(os.environ.get("FAULTS", "40")), int(os.environ.get("SEED", "0"))
STRIKE_WITHIN_S = 120.0
"""A fault whose victim is not there meanwhile (it is coming back) is late by so much at most."""
LONGEST_GAP_S = STALL_S + CUT_S + 60.0
"""The stall's deadline, a cut link, and the start of a driver with all its processes."""
A_FAULT_S = 60.0
BEGIN_S = 400.0

reason = why_not() or (None if shutil.which("redis-server") else "needs redis-server")
pytestmark = [
    pytest.mark.skipif(reason is not None, reason=str(reason)),
    pytest.mark.slow,
    pytest.mark.timeout(600 + int(A_FAULT_S * FAULTS)),
]


def say(words: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {words}", file=sys.stderr, flush=True)  # noqa: T201


@pytest.fixture
def cluster() -> Iterator[ChaosCluster]:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))  # sockets want short paths
    with ChaosCluster(folder) as found:
        yield found
    if not os.environ.get("KEEP"):
        shutil.rmtree(folder)


def test_a_run_survives_what_a_schedule_does_to_it(cluster: ChaosCluster) -> None:
    planned = list(schedule(SEED, FAULTS))
    run = KeptRun(cluster, tasks_for(FAULTS), SEED)
    witness = Witness(cluster.bank_socket)
    say(f"{FAULTS} faults of seed {SEED}, {run.tasks} tasks, in {cluster.folder}")
    cluster.start()
    struck: list[Struck] = []
    waiting_since, deadline = time.monotonic(), time.monotonic() + BEGIN_S
    while not run.over:
        cluster.tend()
        run.tend()
        witness.look()
        now = time.monotonic()
        if run.finished and planned and len(run.finished) >= planned[0].after_tasks:
            since_last = time.time() - (struck[-1].when if struck else 0.0)
            if since_last >= planned[0].pause_s:
                done = strike(planned[0], cluster, run)
                if done is not None:
                    fault = planned.pop(0)
                    struck.append(done)
                    waiting_since = now
                    say(
                        f"{len(run.finished)} episodes; fault {fault.number}: {fault.kind} "
                        f"on {done.host}, away {fault.away_s:g} s"
                    )
                assert now - waiting_since < STRIKE_WITHIN_S, (
                    f"nobody for {planned[0]}\n{run.tail()}"
                )
        else:
            waiting_since = now
        if run.finished:
            deadline = BEGIN_S + now - (time.time() - run.last_progress())
        assert now < deadline, f"the run got no further for {BEGIN_S:.0f} s:\n{run.tail()}"
        time.sleep(0.2)
    run.tend()
    witness.look()
    found = account(run, witness, struck, LONGEST_GAP_S)
    say(str(found))
    say(str(Counter(each.fault.kind for each in struck)))
    for end in run.ends:
        say(f"driver ended with {end.code} on {end.host}: {end.words[-200:]}")
    assert found.problems == ()
    assert found.episodes >= 500
    assert not planned, f"the run was over before {planned}"
    assert len(struck) == FAULTS
    if len(KINDS) <= FAULTS:
        assert {each.fault.kind for each in struck} == set(KINDS)
    assert found.unforced_ends == ()
