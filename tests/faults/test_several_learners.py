"""A run with two learners; one of them is killed, then the process that they belong to."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest
from local_run import Run

from cluster.resources import descendants

LOG = logging.getLogger(__name__)
PEER = b"ray::_WrappedExecutable"
"""What Ray Train calls a process of RLlib's LearnerGroup."""


def peers(run: Run) -> list[int]:
    found = []
    for process in descendants(run.process.pid):
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(PEER):
            found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_two_learners_survives_the_death_of_one_and_of_their_parent(
    tmp_path: Path,
) -> None:
    words = ("name=fault", "distillation.learners=2", "distillation.total_steps=400")
    settings = [word for setting in words for word in ("--set", setting)]
    run = Run(tmp_path, "run", "smoke", *settings, deadline_s=240.0)
    try:
        run.until(lambda: len(run.events("version")) >= 3, "versions")
        first = peers(run)
        assert len(first) == 2
        began = time.monotonic()
        os.kill(first[1], signal.SIGKILL)
        died = "of 2 died while they were asked to"
        run.until(lambda: died in str(run.events("alarm")), "alarm for the learner's peer")
        told = time.monotonic() - began
        run.until(lambda: not set(first) & set(peers(run)), "end of the other peer")
        versions = len(run.events("version"))
        run.until(lambda: len(run.events("version")) > versions, "a version after the death")
        LOG.info("told after %.1f s, a version after %.1f s", told, time.monotonic() - began)
        second = peers(run)
        assert len(second) == 2
        began = time.monotonic()
        os.kill(run.worker("LearnerActor"), signal.SIGKILL)
        run.until(lambda: not set(second) & set(peers(run)), "end of a killed learner's peers")
        LOG.info("its peers were gone %.1f s after the learner", time.monotonic() - began)
        assert run.wait() == 0, run.log.read_text()
    finally:
        run.end()
    summary = run.summary()
    assert summary["accounting"]["problems"] == []
    assert summary["tasks_done"] == 128
    published = [event["version"] for event in run.events("version")]
    assert published == sorted(set(published))
    assert len(run.events("version")) >= 8
