"""The Ray edge: a real Ray, a real learner process, killed and started again on its folder."""

import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from learner_world import RUN, push, requests, setting
from test_distilled_lm import TINY

from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray

        root = str(Path(__file__).parent.parent.parent)
        ray.init(
            address="local",  # whatever else runs on this machine
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}},
        )
        yield ray
        ray.shutdown()


def until(ray: Any, actor: Any, true: Any, deadline_s: float = 60.0) -> Any:
    deadline = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        status = ray.get(actor.status.remote(), timeout=20)
        took = time.monotonic() - began
        assert status.failure is None, status.failure
        if true(status):
            return status, took
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def test_a_killed_actor_is_made_again_and_versions_go_on(
    cluster: Any, server: EmbeddedServer, client: redis.Redis, tmp_path: Path
) -> None:
    from learner.actor import LearnerActor

    def make() -> Any:
        actor = LearnerActor.options(num_cpus=0).remote(setting(tmp_path), TINY, server.url)
        actor.start.remote()
        return actor

    ray, weights = cluster, PublishedWeights(client, RUN)
    first = make()
    until(ray, first, lambda s: s.learner is not None and s.learner.version == 0)
    push(client, requests(16))
    first.allow.remote(3)
    status, took = until(ray, first, lambda s: s.learner.version == 3)
    assert took < 2.0
    assert status.learner.teacher.solved == 16
    reports = ray.get(first.versions.remote(0), timeout=10)
    assert [report.version for report in reports] == [1, 2, 3]
    assert reports[-1].round.codes == 16
    os.kill(status.process, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(first.status.remote(), timeout=20)
    second = make()
    second.allow.remote(5)
    status, _ = until(ray, second, lambda s: s.learner is not None and s.learner.version == 5)
    assert weights.latest_version() == 5
    assert status.learner.traces_held == 16
    began = time.monotonic()
    assert ray.get(second.stop.remote(10.0), timeout=20)
    assert time.monotonic() - began < 10
    assert ray.get(second.status.remote(), timeout=10).phase == "ended"


def test_a_learner_that_cannot_start_says_why(cluster: Any, tmp_path: Path) -> None:
    from learner.actor import LearnerActor

    actor = LearnerActor.options(num_cpus=0).remote(
        setting(tmp_path), TINY, f"unix://{tmp_path}/nobody.sock"
    )
    actor.start.remote()
    deadline = time.monotonic() + 60
    status = cluster.get(actor.status.remote(), timeout=20)
    while status.phase != "failed" and time.monotonic() < deadline:
        time.sleep(0.2)
        status = cluster.get(actor.status.remote(), timeout=20)
    assert status.user_error
    assert "no server answers" in status.failure
