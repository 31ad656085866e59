"""What the bench of writing says, at sizes that take a moment."""

from cluster.bench_ingest import SETTINGS, ingest_lines, measure_ingest


def test_rows_of_small_runs() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS)
    rows = measure_ingest(
        entries=400,
        memory_entries=640,
        settings=[("bank", "everysec", 0.5, 2, 4), ("xadd", "none", 0.0, 1, 64)],
        runs=1,
        visible_s=0.3,
    )
    ways = [row["way"] for row in rows]
    assert ways == ["bank", "plain XADD", "written to visible", "server memory"]
    bank, _, seen, memory = rows
    assert bank["entries_a_s"] > 0
    assert 0.3 < bank["found_duplicates"] < 0.7
    assert 0 < seen["p50_ms"] <= seen["p99_ms"]
    assert memory["entries"] == 640
    assert memory["metered_bytes_an_entry"] < memory["bytes_an_entry"]
    assert len(list(ingest_lines(rows))) == len(rows)
