"""Real runs whose actors share an inference actor, which is killed and hung."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_run import Run

from cluster.resources import descendants

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
DEADLINE_S = 240.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    settings = (
        "name=fault",
        "acting.actors=2",
        "acting.inference=shared",
        "acting.request_deadline_s=16",
        "monitoring.dashboard=false",
    )
    words = [word for setting in settings for word in ("--set", setting)]
    made = Run(tmp_path, "run", "smoke", *words, deadline_s=DEADLINE_S)
    yield made
    made.end()


def check_account(run: Run) -> None:
    """Every task once, nothing doubled, no version that falls, no actor lost."""
    summary = run.summary()
    account = summary["accounting"]
    assert summary["outcome"] == "finished"
    assert (account["closes"], account["problems"]) == (True, [])
    assert account["episodes_doubled"] == 0
    episodes = run.events("episode")
    assert sorted(each["task_index"] for each in episodes) == list(range(128))
    assert len({each["episode"] for each in episodes}) == 128
    versions = [event["version"] for event in run.events("version")]
    assert versions == sorted(set(versions))
    assert all(each["staleness"] <= 2 for each in episodes)
    assert {each["actor"] for each in episodes} == {"actor-0", "actor-1"}


def test_a_run_survives_kill_9_of_its_inference_actor(run: Run) -> None:
    run.until(lambda: len(run.events("episode")) >= 8, "episodes")
    killed = run.worker("InferenceProcess")
    os.kill(killed, signal.SIGKILL)
    run.until(lambda: "inference-0 died" in str(run.events("alarm")), "alarm for inference")
    assert run.wait() == 0, run.log.read_text()
    check_account(run)


def test_an_inference_actor_that_hangs_is_replaced(run: Run) -> None:
    run.until(lambda: len(run.events("episode")) >= 8, "episodes")
    hung = run.worker("InferenceProcess")
    os.kill(hung, signal.SIGSTOP)
    run.until(lambda: "inference-0 was waited" in str(run.events("alarm")), "alarm for inference")
    (overdue,) = (each for each in run.events("alarm") if each["kind"] == "request_overdue")
    assert "half of acting.request_deadline_s" in overdue["message"]
    assert run.wait() == 0, run.log.read_text()
    check_account(run)
    assert hung not in descendants(run.process.pid)
