"""kill -9 of a learner's process, again and again: nothing is lost, nothing is doubled."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import redis
from learner_world import DOMAINS, RUN, ParrotStudent, push, requests, setting, wait_for

from learner.learner import LearnerService
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights

HERE = Path(__file__).parent


def start(server: EmbeddedServer, folder: Path) -> subprocess.Popen[bytes]:
    paths = [str(HERE), *(entry or str(Path.cwd()) for entry in sys.path)]
    return subprocess.Popen(
        [sys.executable, str(HERE / "learner_process.py"), server.url, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=HERE.parent.parent,
    )


def teachers() -> int:
    """Teacher processes on this machine that nobody is the parent of any more."""
    orphans = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            orphans += b"learner.teacher_process" in command and parent == "1"
    return orphans


def test_a_learner_that_is_killed_again_and_again_loses_and_doubles_nothing(
    server: EmbeddedServer, client: redis.Redis, tmp_path: Path
) -> None:
    weights, total = PublishedWeights(client, RUN), 80
    versions = [-1]

    def latest() -> int:
        found = weights.latest_version()
        return -1 if found is None else found

    for life in range(3):
        process = start(server, tmp_path)
        push(client, requests(20, first=20 * life))
        wait_for(lambda: latest() > versions[-1] + 1)
        time.sleep(0.1 + 0.2 * life)
        process.kill()
        process.wait(10)
        assert latest() >= versions[-1]
        versions.append(latest())
    push(client, requests(20, first=60))
    student = ParrotStudent()
    service = LearnerService(setting(tmp_path), client, lambda: student)
    assert service.version == versions[-1]
    service._teaching.start()
    plans, traces = PlanQueue(client, RUN, DOMAINS), TraceQueue(client, RUN, DOMAINS)
    deadline = time.monotonic() + 20
    while plans.backlog() or service.status().traces_taken < traced(client):
        service._turn()
        assert time.monotonic() < deadline
    service._write_checkpoint()
    service._teaching.stop()
    assert traces.backlog() == 0
    events = OutcomeLog(client, RUN, DOMAINS).read({}, 10_000)[0]
    answered = Counter(event.outcome.task_index for event in events)
    assert answered == dict.fromkeys(range(total), 1)
    assert service.status().traces_taken == traced(client)
    held = [trace.task_index for trace in service._intake.reservoir.traces]
    assert len(held) == len(set(held)) == traced(client)
    wait_for(lambda: teachers() == 0)


def traced(client: redis.Redis) -> int:
    events = OutcomeLog(client, RUN, DOMAINS).read({}, 10_000)[0]
    return sum(event.outcome.traced for event in events)
