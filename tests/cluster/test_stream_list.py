"""`nesypr tasks stream`: what a configuration's stream gives, without running it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cluster.main import app
from cluster.stream_list import distinct_counts
from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.stream import TaskStream

QUICK = ["--set", "stream.probe_tasks=4"]


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["tasks", "stream", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_head_of_a_stream() -> None:
    rows = json.loads(told("quickstart", *QUICK, "--head", "3", "--json"))
    assert [row["index"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["phase"] == "stacking"
        assert row["domain"] in ("blocks", "hanoi", "gripper", "ferry")
        assert row["origin"].startswith(f"generator:{row['domain']}:{row['size']}:")
        assert row["plan_length"] is None
    text = told("quickstart", *QUICK, "--head", "1")
    assert "3840 tasks in 3 phases of 4 domains; 4 held-out tasks a phase" in text
    assert "unknown" in text


@pytest.mark.parametrize("distinct", [True, False])
def test_what_differs_is_counted(distinct: bool) -> None:
    phase = PhaseConfig(name="a", tasks=60, domains=(DomainShare(name="blocks"),))
    stream = TaskStream(StreamConfig(phases=(phase,), distinct=distinct, probe_tasks=4), 0)
    counts = distinct_counts(stream)
    assert counts["tasks"] == 60
    assert counts["held_out"] == 4
    assert counts["domains"] == {"blocks": counts["distinct"]}
    assert (counts["distinct"] == 60) == distinct
    assert counts["visible"] <= counts["distinct"]
