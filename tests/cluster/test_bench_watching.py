"""`nesypr bench watching`, one short pair of real runs."""

from __future__ import annotations

import pytest

from cluster import bench_watching


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pair_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_watching, "TASKS", 300)
    monkeypatch.setenv(bench_watching.PAIRS_VARIABLE, "1")
    found = bench_watching.bench_watching()
    assert found["events_sent"] > 2
    assert 0.0 < found["page_processor_share"] < 0.5
    assert found["ratio"] == pytest.approx(found["watched_tasks_s"] / found["alone_tasks_s"])
