"""The bank benchmark at a small size: it measures, and its recall is 1."""

from functools import partial

import pytest

from cluster.bench_bank import SIZES_VARIABLE, bench_bank
from cluster.bench_ingest import measure_ingest


def test_measures_look_ups_and_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIZES_VARIABLE, "9000")
    monkeypatch.setattr("cluster.bench_bank.RUNS", 1)
    monkeypatch.setattr("cluster.bench_bank.MOST_ON_SERVER", 9000)
    monkeypatch.setattr("cluster.bench_bank.MOST_GRAPH", 0)
    monkeypatch.setattr("cluster.bench_bank.MOST_WRITTEN_OUT", 0)
    monkeypatch.setattr(
        "cluster.bench_bank.measure_ingest",
        partial(measure_ingest, 700, 700, [("bank", "none", 0.5, 1, 64)], 1, 0.2),
    )
    result = bench_bank()
    rows = {(row["way"], row["batch"]): row for row in result["milliseconds_a_decision"]}
    assert rows["ours at υ", 64]["recall"] == 1.0
    assert rows["ours at υ", 64]["bytes_an_entry"] < 100
    assert all(row["ms"] > 0 for row in rows.values())
    served = result["replica_of_a_server"][0]
    assert served["entries"] > 8000  # fewer, and pages would tell of little else
    assert served["server_bytes_an_entry"] > served["replica_bytes_an_entry"] > 64
    assert served["node_bytes_an_entry"] > 64
    assert served["load_wall_s"] > 0
    assert rows["ours at υ, all domains", 64]["recall"] == 1.0
    assert result["ingest"]
