"""The schedule of faults is a pure function of its seed, and has all kinds in it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from fault_schedule import CUT_S, KINDS, SHARES, schedule, tasks_for

COUNTS = [1, 3, 10, 11, 40, 57, 200]


@pytest.mark.parametrize("faults", COUNTS)
def test_a_schedule_is_a_pure_function_of_its_seed(faults: int) -> None:
    assert schedule(7, faults) == schedule(7, faults)
    assert len(schedule(7, faults)) == faults
    if faults > 3:
        assert schedule(7, faults) != schedule(8, faults)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("faults", [10, 11, 40, 200])
def test_all_kinds_come(seed: int, faults: int) -> None:
    assert {fault.kind for fault in schedule(seed, faults)} == set(KINDS)


def test_forty_faults_have_the_shares_that_are_written_down() -> None:
    assert sum(SHARES.values()) == 40
    assert Counter(fault.kind for fault in schedule(0, 40)) == SHARES
    tenfold = Counter(fault.kind for fault in schedule(0, 400))
    assert tenfold == {kind: 10 * share for kind, share in SHARES.items()}


@pytest.mark.parametrize("faults", COUNTS)
def test_faults_follow_one_another_within_the_run(faults: int) -> None:
    planned = schedule(3, faults)
    assert [fault.number for fault in planned] == list(range(faults))
    assert all(a.after_tasks <= b.after_tasks for a, b in pairwise(planned))
    assert planned[-1].after_tasks < tasks_for(faults)
    assert tasks_for(faults) >= 500
    assert all(0.0 <= fault.choice < 1.0 for fault in planned)
    assert {fault.away_s for fault in planned if fault.kind == "cut"} <= {CUT_S}
    assert all(fault.away_s > 0.0 for fault in planned if fault.kind in ("host", "head", "server"))
