"""A run that was stopped at half and resumed is the run that was never stopped, bit for bit.

Decisions, probes, versions and published weights of runs with `reproducible` are compared; what a
clock says (times, actors' names, and how stale an episode was when it was read) is left out.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from local_run import Run

from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights

DEADLINE_S = 240.0
"""For a start on a machine that may be busy."""
SETTINGS = (
    "reproducible=true",
    "acting.restrict=true",  # else episodes of what has learned nothing end at their first action
    "monitoring.dashboard=false",
    "monitoring.episodes_every=8",
)
TASKS = 128
HALF = 64
CLOCK = {"time", "at", "seconds", "staleness", "actor", "episode"}

StartRun = Callable[..., Run]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRun]:
    root = tmp_path_factory.mktemp("equality")
    made: list[Run] = []

    def start(name: str, *words: str) -> Run:
        made.append(Run(root, *words, name=name, deadline_s=DEADLINE_S))
        return made[-1]

    yield start
    for run in made:
        run.end()


def begin(runs: StartRun, name: str) -> Run:
    words = [word for one in (f"name={name}", *SETTINGS) for word in ("--set", one)]
    return runs(name, "run", "smoke", *words)


@pytest.fixture(scope="module")
def whole(runs: StartRun) -> Run:
    """The run that is never stopped."""
    run = begin(runs, "whole")
    assert run.wait() == 0, run.log.read_text()
    return run


def told(run: Run) -> dict[str, dict[Any, Any]]:
    """What the run did: by task, by probe, by version. What was told twice must be the same."""
    found: dict[str, dict[Any, Any]] = {"episode": {}, "probe": {}, "version": {}, "planned": {}}
    for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kind = event.pop("event")
        if kind not in found:
            continue
        rest = {name: value for name, value in event.items() if name not in CLOCK}
        if kind == "planned":
            rest.pop("cached")  # a new teacher knows no answers
        key: Any = rest.get("task_index")
        if kind == "probe":
            key = (rest["phase"], rest["after_phase"], rest["mode"])
        elif kind == "version":
            key = rest["version"]
            rest.pop("phase")  # of the stream when the driver heard of it
        assert found[kind].setdefault(key, rest) == rest, (kind, key)
    return found


def words(run: Run) -> dict[int, Any]:
    """The decisions of some episodes: what was read, answered, and with which codes."""
    lines = (run.folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["task_index"]: line["decisions"] for line in map(json.loads, lines)}


def weights(run: Run) -> tuple[int, bytes]:
    """The last published weights, from the run's own server."""
    with EmbeddedServer(run.folder / "shared_memory") as server:
        import redis

        client = redis.Redis(unix_socket_path=server.url.removeprefix("unix://"), protocol=2)
        try:
            state = json.loads((run.folder / "checkpoints" / "driver.json").read_text())["state"]
            return PublishedWeights(client, state["run"]).fetch()
        finally:
            client.close()


def reservoir(run: Run) -> Any:
    """What the learner's last checkpoint holds for replay, with its random state."""
    last = sorted((run.folder / "checkpoints" / "learner").glob("checkpoint-*"))[-1]
    return msgpack.unpackb((last / "reservoir.msgpack").read_bytes())


def is_the_same(run: Run, whole: Run) -> None:
    mine, its = told(run), told(whole)
    assert len(its["episode"]) == TASKS
    assert sum(one["decisions"] for one in its["episode"].values()) > 4 * TASKS
    assert any(one["hits_failure"] for one in its["episode"].values())
    for kind in its:
        assert mine[kind] == its[kind], kind
    assert words(run) == words(whole)
    assert weights(run) == weights(whole)
    assert reservoir(run) == reservoir(whole)
    assert run.summary()["accounting"]["closes"]


@pytest.mark.timeout(900)
def test_stopped_at_half_with_ctrl_c(runs: StartRun, whole: Run) -> None:
    run = begin(runs, "stopped")
    run.until(lambda: len(run.events("episode")) >= HALF, "half of the episodes")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130, run.log.read_text()
    assert run.summary()["tasks_done"] < TASKS
    resumed = runs("stopped", "resume", "stopped")
    assert resumed.wait() == 0, resumed.log.read_text()
    is_the_same(resumed, whole)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("tasks", [0, 40, HALF, 100])
def test_driver_killed(runs: StartRun, whole: Run, tasks: int) -> None:
    name = f"killed-{tasks}"
    run = begin(runs, name)
    run.until(lambda: len(run.events("version")) > 0, "a version")
    run.until(lambda: len(run.events("episode")) >= tasks, "episodes")
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait()
    resumed = runs(name, "resume", name)
    assert resumed.wait() == 0, resumed.log.read_text()
    is_the_same(resumed, whole)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("worker", ["LearnerActor", "ActorProcess"])
def test_learner_or_actor_killed(runs: StartRun, whole: Run, worker: str) -> None:
    run = begin(runs, f"without-{worker}")
    for tasks in (20, 80):
        run.until(lambda: len(run.events("episode")) >= tasks, "episodes")  # noqa: B023
        os.kill(run.worker(worker), signal.SIGKILL)
    assert run.wait() == 0, run.log.read_text()
    is_the_same(run, whole)
