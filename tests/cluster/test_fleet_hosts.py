"""Hosts of a real Ray cluster join, are drained and vanish, while actors act.

Several raylets on this machine; the fleet, the dispatcher and Ray are the real ones, and only what
acting itself does is a stand-in that sleeps.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from fleet_driver import FleetDriver
from ray.cluster_utils import Cluster

from actors.records import ActReport, Assignment, Pulse, StageTimes
from cluster.dispatcher import Dispatcher, StreamOpened
from cluster.fleet import Fleet
from cluster.hosts import HostWatch
from cluster.ray_session import worker_environment
from cluster.supervisor import Supervisor
from shared_memory.fleet_wishes import FleetSize, FleetWish

pytestmark = pytest.mark.slow
DEADLINE_S = 150.0
"""This machine may be busy; `--log-cli-level=INFO` tells how long it really takes."""
LOG = logging.getLogger(__name__)
TASKS = 400_000
NODE = {"num_cpus": 2, "include_dashboard": False}
NEED = {"CPU": 0.5, "GPU": 0.0}


class StandInActor:
    """Acts by sleeping."""

    def __init__(self, name: str, setting: Any) -> None:
        self.name = name
        self.node = ray.get_runtime_context().get_node_id()

    def start(self) -> Pulse:
        return self.pulse()

    def pulse(self) -> Pulse:
        return Pulse(1, 0, 1.0, self.node)

    def leave(self) -> None:
        pass

    def act(self, assignments: tuple[Assignment, ...]) -> ActReport:
        time.sleep(0.5)
        episodes = tuple(each.episode for each in assignments)
        return ActReport(self.name, 0, episodes, 0, StageTimes(), 0.5, 1.0)


class Acting(FleetDriver):
    """The driver's turns, on the real clock."""

    def turn(self) -> None:
        ready, _ = ray.wait(self.fleet.open_requests, num_returns=1, timeout=0.1)
        self.take(ready)

    def until(self, true: Callable[[], bool]) -> float:
        """Seconds until it is so."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < DEADLINE_S, self.fleet.state()
            if self.fleet.open_requests:
                self.turn()
            else:
                self.fleet.poll(())
                time.sleep(0.1)
        return time.monotonic() - began

    def counts(self) -> dict[str, int]:
        """Actors that are up and stay, by host."""
        up = self.fleet.state()
        return {host.node: host.actors for host in up.hosts} if self.settled else {}

    @property
    def settled(self) -> bool:
        state = self.fleet.state()
        return state.starting == 0 and state.going == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(initialize_head=True, head_node_args=NODE, shutdown_at_exit=True)
    environment = worker_environment()  # and this file, where workers find the stand-in
    environment["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    ray.init(
        address=made.address,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
    )
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def acting(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acting]:
    actor: Any = ray.remote(concurrency_groups={"watch": 1})(StandInActor)
    monkeypatch.setattr("cluster.cast.ActorProcess", actor)
    hosts = HostWatch(every_s=0.5)
    setting: Any = None
    supervisor = Supervisor(60.0, time.monotonic())
    fleet = Fleet(setting, FleetSize(4), NEED, 60.0, supervisor, hosts)
    dispatcher = Dispatcher(TASKS, 4, TASKS, 1)
    dispatcher.handle(StreamOpened(TASKS))
    yield Acting(fleet, dispatcher)
    fleet.stop()
    hosts.stop()


def worker_node(cluster: Cluster, **settings: Any) -> tuple[Any, str]:
    """A further raylet and its number."""
    node = cluster.add_node(**NODE, **settings)
    return node, node.node_id


@pytest.mark.timeout(600)
def test_hosts_join_are_drained_and_vanish(cluster: Cluster, acting: Acting) -> None:
    head = cluster.head_node.node_id
    acting.until(lambda: acting.counts() == {head: 4})

    second, second_id = worker_node(cluster)
    joined_s = acting.until(lambda: acting.counts() == {head: 2, second_id: 2})
    LOG.info("a joined host had its share after %.1f s", joined_s)

    wished = FleetWish(FleetSize(4), frozenset({second_id}))
    acting.fleet.wish(wished, FleetSize(4))
    drained_s = acting.until(lambda: acting.counts() == {head: 4, second_id: 0})
    LOG.info("a drained host was empty after %.1f s", drained_s)
    assert acting.lost == []
    assert acting.dispatcher.failed == 0
    assert sorted(acting.done) == sorted(set(acting.done))  # none twice
    assert len(acting.done) == acting.dispatcher.finished

    acting.fleet.wish(FleetWish(), FleetSize(4))
    acting.until(lambda: acting.counts() == {head: 2, second_id: 2})
    cluster.remove_node(second, allow_graceful=False)
    vanished_s = acting.until(lambda: acting.counts() == {head: 4})
    LOG.info("a vanished host's actors were elsewhere after %.1f s", vanished_s)
    finished = acting.dispatcher.finished
    acting.until(lambda: acting.dispatcher.finished >= finished + 16)
    acting.dispatcher.check()


@pytest.mark.timeout(600)
def test_a_number_is_asked_for_and_ray_drains_a_host(cluster: Cluster, acting: Acting) -> None:
    head = cluster.head_node.node_id
    acting.until(lambda: acting.counts() == {head: 4})
    acting.fleet.wish(FleetWish(FleetSize(6)), FleetSize(4))
    acting.until(lambda: acting.fleet.state().waiting == 2)
    (wait,) = (each for each in acting.fleet.waits(time.monotonic()) if each.who == "actors")
    assert wait.whom == "room on a host"
    assert wait.what.startswith("for 2 of 6; each needs 0.5 CPU; ")
    third, third_id = worker_node(cluster)
    acting.until(lambda: acting.counts() == {head: 3, third_id: 3})
    assert acting.fleet.state().waiting == 0

    acting.fleet.wish(FleetWish(FleetSize(2, each_host=True)), FleetSize(4))
    acting.until(lambda: acting.counts() == {head: 2, third_id: 2})
    assert acting.dispatcher.failed == 0

    preempted = 2  # DRAIN_NODE_REASON_PREEMPTION
    deadline_ms = int(1000 * (time.time() + 600))
    client = ray._raylet.GcsClient(address=cluster.address)
    accepted, words = client.drain_node(third_id, preempted, "a spot instance ends", deadline_ms)
    assert accepted, words
    acting.until(lambda: acting.counts() == {head: 2, third_id: 0})
    assert acting.dispatcher.failed == 0
    assert acting.lost == []
    acting.fleet.wish(FleetWish(FleetSize(1)), FleetSize(4))
    # Ray may have taken the idle host away meanwhile.
    acting.until(lambda: acting.counts() in ({head: 1, third_id: 0}, {head: 1}))
    assert sorted(acting.done) == sorted(set(acting.done))
    cluster.remove_node(third)
