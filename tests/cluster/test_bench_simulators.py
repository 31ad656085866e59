"""The benchmark of simulators: both walk the same way, and PDDLGym's time is bounded."""

from __future__ import annotations

import sys
import time

import pytest
from rich.console import Console

from cluster import bench_simulators as bench
from cluster.bench import bench_table, list_benches


def test_it_compares_what_both_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STEPS", 6)
    result = bench.bench_simulators(["blocks", "elevator", "river", "snake"])
    assert [row["domain"] for row in result["rows"]] == ["blocks", "elevator"]
    assert result["steps_compared"] >= 12
    assert "by chance" in result["left_out"]["river"]
    assert "PDDLGym raises TypeError" in result["left_out"]["snake"]
    assert result["domains_uncompared"] == 0
    for row in result["rows"]:
        assert row["ratio"] == row["steps_per_s"] / row["pddlgym_steps_per_s"] > 1
        assert row["resets_per_s"] > 0
    console = Console(record=True, width=200)
    console.print(bench_table("simulators", result))
    assert "blocks, mimir, objects" in console.export_text()
    assert "simulators" in list_benches()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_pddlgym_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PDDLGYM_SECONDS", 0.05)
    began, stdout = time.process_time(), sys.stdout
    result = bench.bench_simulators(["sokoban"])
    (row,) = result["rows"]
    assert result["domains_uncompared"] == (row["steps"] == 0)
    assert time.process_time() - began < 10
    assert row["steps"] < bench.STEPS
    assert row["ratio"] > 10
    assert sys.stdout is stdout  # which PDDLGym turns off while it works
