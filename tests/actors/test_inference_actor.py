"""Actors and their inference actor as processes of Ray, with the smoke run's model and tasks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import redis

from actors.actor import ActorProcess
from actors.inference_actor import InferenceProcess, InferenceWay
from actors.records import ActorSetting, ActReport, Assignment, Pulse
from cluster.ray_session import RaySession
from cluster.settings import load_settings
from model.making import make_lm
from model.saving import to_bytes
from shared_memory.connection import connect
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights
from tasks.rendering import Rendering
from tasks.stream import TaskStream

CONFIG = load_settings("smoke", (), {}).config
STREAM = TaskStream(CONFIG.stream, CONFIG.seed)
DOMAINS = tuple(domain.name for domain in STREAM.domains)
TASKS = [Assignment(number, STREAM[number]) for number in range(56, 88)]  # of both phases
PATIENCE_S = 120.0
DEADLINE_S = 4.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync="no") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    made = connect(CONFIG.shared_memory, server.url)
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with RaySession(None, 4.0):
        yield


def setting(url: str, run: str, inference: str) -> ActorSetting:
    acting = CONFIG.acting.model_copy(
        update={
            "inference": inference,
            "restrict": True,  # an untrained model names no action otherwise
            "banks": "none",  # what two actors find there depends on who was first
            "request_deadline_s": PATIENCE_S,
        }
    )
    return ActorSetting(
        run=run,
        seed=CONFIG.seed,
        url=url,
        domains=DOMAINS,
        simulator=CONFIG.stream.simulator,
        step_limit=CONFIG.stream.step_limit,
        rendering=CONFIG.rendering,
        acting=acting,
        shared_memory=CONFIG.shared_memory,
    )


def started(kind: Any, name: str, what: ActorSetting) -> tuple[Any, Any]:
    handle = kind.options(num_cpus=0).remote(name, what)
    return handle, handle.start.remote()


def decisions(client: redis.Redis, run: str) -> dict[int, Any]:
    events, _ = OutcomeLog(client, run, DOMAINS).read({})
    return {
        event.episode.episode: (
            event.episode.book_version,
            [(one.codes.tolist(), one.action) for one in event.episode.decisions],
        )
        for event in events
        if isinstance(event, EpisodeEvent)
    }


@pytest.mark.timeout(280)
def test_two_actors_that_share_decide_as_one_alone_and_hear_of_its_end(
    client: redis.Redis, server: EmbeddedServer, tmp_path: Path
) -> None:
    rendering = Rendering(STREAM.domains, CONFIG.rendering)
    model = make_lm(CONFIG.model, rendering.vocabulary, rendering.interchangeable, rendering.names)
    for run in ("own", "shared"):
        PublishedWeights(client, run).publish(7, to_bytes(model, 7))
    shared = setting(server.url, "shared", "shared")
    own, alone = started(ActorProcess, "own", setting(server.url, "own", "own"))
    central, up = started(InferenceProcess, "inference-0", shared)
    pair = [started(ActorProcess, f"actor-{number}", shared) for number in range(2)]
    pulse: Pulse = ray.get(up, timeout=PATIENCE_S)
    ray.get([alone, *(each for _, each in pair)], timeout=PATIENCE_S)
    way = InferenceWay("inference-0", central, PATIENCE_S)

    asked = [handle.act.remote(TASKS[place::2], way) for place, (handle, _) in enumerate(pair)]
    report: ActReport = ray.get(own.act.remote(TASKS), timeout=PATIENCE_S)
    reports: list[ActReport] = ray.get(asked, timeout=PATIENCE_S)
    assert {each.version for each in [report, *reports]} == {7}
    assert len(decisions(client, "own")) == len(TASKS)
    assert decisions(client, "shared") == decisions(client, "own")

    # It hangs: whoever asks hears of it within the deadline, and says so in good order.
    os.kill(pulse.process, signal.SIGSTOP)
    began = time.monotonic()
    short = InferenceWay("inference-0", central, DEADLINE_S)
    again = [Assignment(200 + each.episode, each.task) for each in TASKS]
    asked = [handle.act.remote(again[place::2], short) for place, (handle, _) in enumerate(pair)]
    for late in ray.get(asked, timeout=PATIENCE_S):
        assert (late.episodes, late.version) == ((), -1)
        assert late.broken_off.overdue
        assert "inference-0 was waited to begin a session longer than 4 s" in (
            late.broken_off.sentence
        )
    assert time.monotonic() - began < DEADLINE_S + 20.0
    # It dies: all hear of it at once.
    os.kill(pulse.process, signal.SIGKILL)
    asked = [handle.act.remote(again[place::2], way) for place, (handle, _) in enumerate(pair)]
    for late in ray.get(asked, timeout=PATIENCE_S / 2):
        assert not late.broken_off.overdue
        assert late.broken_off.sentence.startswith("inference-0 died: ")
    # Another takes its place, and what was left is acted.
    other, up = started(InferenceProcess, "inference-0.1", shared)
    ray.get(up, timeout=PATIENCE_S)
    way = InferenceWay("inference-0.1", other, PATIENCE_S)
    asked = [handle.act.remote(again[place::2], way) for place, (handle, _) in enumerate(pair)]
    assert [each.broken_off for each in ray.get(asked, timeout=PATIENCE_S)] == [None, None]
    assert len(decisions(client, "shared")) == 2 * len(TASKS)
