"""The real fleet, placement and dispatcher on a simulated Ray with a clock of its own.

Minutes of a cluster's life take no time here, and every step can be looked at; the same on real
raylets is in `test_fleet_hosts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from fleet_driver import FleetDriver

import cluster.fleet
from actors.records import ActReport, Assignment, Pulse, StageTimes
from cluster.cast import Cast
from cluster.dispatcher import Dispatcher, StreamOpened
from cluster.fleet import Fleet
from cluster.hosts import HostLook, RayHost
from cluster.inference_servers import InferenceServers
from cluster.supervisor import Supervisor
from shared_memory.fleet_wishes import FleetSize, FleetWish

CPUS = 0.5
TASKS = 10**6
LOOK_EVERY_S = 2.0


class Reference:
    """An answer that is there at some time, or an error where its actor is gone."""

    def __init__(self, handle: Handle, at: float, answer: object) -> None:
        self.handle, self.at, self.answer = handle, at, answer


class Handle:
    """An actor: 2 s to start, 1 s for a request, on one host."""

    def __init__(self, world: World, name: str, node: str) -> None:
        self.world, self.name, self.node, self.ended = world, name, node, False
        self.pulse = self._method(0.5, lambda: Pulse(1, 0, 1.0, node))
        self.start = self._method(2.0, lambda: Pulse(1, 0, 1.0, node))
        self.leave = self._method(0.1, lambda: None)
        self.act = self._method(1.0, self._report)

    @property
    def gone(self) -> bool:
        return self.ended or self.node in self.world.dead

    def _report(self, tasks: tuple[Assignment, ...]) -> ActReport:
        episodes = tuple(task.episode for task in tasks)
        return ActReport(self.name, 0, episodes, 0, StageTimes(), 1.0, 1.0)

    def _method(self, seconds: float, answer: Callable[..., object]) -> SimpleNamespace:
        def remote(*values: Any) -> Reference:
            return Reference(self, self.world.now + seconds, answer(*values))

        return SimpleNamespace(remote=remote)


class World:
    """Hosts with CPUs, what Ray tells of them, and the driver's turn between fleet and books."""

    problem = ""

    def __init__(self, actors: int, opened: int = TASKS, **hosts: float) -> None:
        self.now = 1000.0
        self.hosts, self.draining, self.dead = dict(hosts), set[str](), set[str]()
        self.handles: list[Handle] = []
        self.asked_autoscaler: list[int] = []
        self._look: HostLook | None = None
        self.dispatcher = Dispatcher(TASKS, 4, TASKS, 1)
        self.dispatcher.handle(StreamOpened(opened))
        setting: Any = None
        watch: Any = self
        self.configured = FleetSize(actors)
        self.fleet = Fleet(
            setting,
            self.configured,
            {"CPU": CPUS, "GPU": 0.0},
            60.0,
            (supervisor := Supervisor(60.0, self.now)),
            watch,
            Cast(self._ask, end=self._end),
            self._shared(supervisor),
        )
        self.driver = FleetDriver(self.fleet, self.dispatcher)

    # -- what the fleet asks of Ray and of the watch on hosts

    def _ask(self, name: str, setting: Any, need: Mapping[str, float], node: str) -> Handle:
        self.handles.append(Handle(self, name, node))
        return self.handles[-1]

    def _end(self, handle: Handle) -> None:
        handle.ended = True

    def _shared(self, supervisor: Supervisor) -> InferenceServers | None:
        """The inference actors that actors share: there are none."""
        return None

    def wait(
        self, references: list[Reference], num_returns: int = 1, timeout: float = 0.0
    ) -> tuple[list[Reference], list[Reference]]:
        ready = [each for each in references if each.at <= self.now or each.handle.gone]
        return ready[:num_returns], []

    def get(self, reference: Reference, timeout: float = 0.0) -> object:
        if reference.handle.gone:
            raise ray.exceptions.RayActorError(error_msg="its host is gone")
        return reference.answer

    @property
    def looked(self) -> float:
        return self.now // LOOK_EVERY_S * LOOK_EVERY_S

    def latest(self) -> HostLook:
        if self._look is None or self._look.at != self.looked:
            used = Counter(handle.node for handle in self.handles if not handle.gone)
            self._look = HostLook(
                self.looked,
                tuple(
                    RayHost(
                        node,
                        node,
                        node,
                        "",
                        {"CPU": cpus},
                        {"CPU": cpus - CPUS * used[node]},
                        node in self.draining,
                    )
                    for node, cpus in self.hosts.items()
                ),
            )
        return self._look

    def want(self, need: Mapping[str, float], count: int) -> None:
        self.asked_autoscaler.append(count)

    # -- the driver

    def turn(self) -> None:
        self.now += 0.1
        requests = self.fleet.open_requests
        ready, _ = self.wait(requests, num_returns=len(requests))
        self.driver.take(ready)

    def until(self, true: Callable[[], bool], most_s: float = 30.0) -> float:
        began = self.now
        while not true():
            self.turn()
            assert self.now - began < most_s, self.fleet.state()
        return self.now - began

    def wish(self, size: FleetSize | None, *leaving: str) -> None:
        self.fleet.wish(FleetWish(size, frozenset(leaving)), self.configured)

    def settled(self, **actors: int) -> Callable[[], bool]:
        """Whether all is calm, with so many actors on each host."""

        def check() -> bool:
            state = self.fleet.state()
            calm = state.starting == 0 and state.going == 0
            return calm and {host.node: host.actors for host in state.hosts} == actors

        return check


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def make(actors: int, opened: int = TASKS, **hosts: float) -> World:
        worlds: list[World] = []
        simulated = SimpleNamespace(
            wait=lambda *values, **named: worlds[0].wait(*values, **named),
            get=lambda *values, **named: worlds[0].get(*values, **named),
            exceptions=ray.exceptions,
        )
        monkeypatch.setattr(cluster.fleet, "ray", simulated)
        clock = SimpleNamespace(monotonic=lambda: worlds[0].now if worlds else 1000.0)
        monkeypatch.setattr(cluster.fleet, "time", clock)
        worlds.append(World(actors, opened, **hosts))
        return worlds[0]

    return make


def test_a_joined_host_has_its_share_and_a_drained_one_loses_no_episode(
    make_world: Callable[..., World],
) -> None:
    world = make_world(4, east=2.0)
    world.until(world.settled(east=4))
    world.hosts["west"] = 2.0
    assert world.until(world.settled(east=2, west=2)) < 30.0
    world.wish(None, "west")
    world.until(world.settled(east=4, west=0))
    world.wish(None)
    world.until(world.settled(east=2, west=2))
    world.draining.add("west")  # Ray was told that it ends
    world.until(world.settled(east=4, west=0))
    assert world.driver.lost == []
    assert world.dispatcher.failed == 0
    assert sorted(world.driver.done) == sorted(set(world.driver.done))
    assert len(world.driver.done) == world.dispatcher.finished


def test_actors_of_a_vanished_host_are_replaced_elsewhere_before_ray_knows(
    make_world: Callable[..., World],
) -> None:
    world = make_world(4, east=2.0, west=2.0)
    world.until(world.settled(east=2, west=2))
    world.dead.add("west")
    world.until(world.settled(east=4, west=0))
    assert len(world.driver.lost) < 8  # it is shunned after two, though Ray still lists it
    del world.hosts["west"]
    finished = world.dispatcher.finished
    world.until(lambda: world.dispatcher.finished > finished + 64)
    assert sorted(world.driver.done) == sorted(set(world.driver.done))
    world.dispatcher.check()


def test_a_number_beyond_the_room_waits_is_told_and_comes_with_the_next_host(
    make_world: Callable[..., World],
) -> None:
    world = make_world(2, east=2.0)
    world.until(world.settled(east=2))
    world.wish(FleetSize(6))
    world.until(lambda: world.fleet.state().waiting == 2)
    (wait,) = (each for each in world.fleet.waits(world.now) if each.who == "actors")
    assert wait.whom == "room on a host"
    assert wait.what.startswith("for 2 of 6; each needs 0.5 CPU; east has ")
    assert world.asked_autoscaler[-1] == 6
    world.hosts["west"] = 2.0
    world.until(world.settled(east=3, west=3))
    assert world.fleet.state().waiting == 0
    world.wish(FleetSize(1))
    world.until(world.settled(east=1, west=0))
    assert world.driver.lost == []
    assert world.dispatcher.failed == 0


def test_so_many_on_each_host_as_hosts_come(make_world: Callable[..., World]) -> None:
    world = make_world(2, east=2.0)
    world.wish(FleetSize(3, each_host=True))
    world.until(world.settled(east=3))
    world.hosts["west"] = 1.0
    world.until(lambda: world.fleet.state().waiting == 1)
    world.until(world.settled(east=3, west=2))
    assert world.dispatcher.failed == 0


def test_who_is_lost_and_not_yet_told_of_is_asked_for_nothing(
    make_world: Callable[..., World],
) -> None:
    world = make_world(2, opened=8, east=1.0)
    world.until(lambda: world.dispatcher.finished == 8)
    world.dead.add("east")
    idle = set(world.dispatcher.idle_actors)
    assert len(idle) == 2
    while idle & {worker.actor for worker in world.fleet.health(world.now)}:
        world.now += 0.1
        world.driver.dispatching.poll([])
    world.driver.dispatching.tell(StreamOpened(16))  # as where a version comes in that moment
    world.driver.settle()
    assert {each.actor for each in world.driver.lost} >= idle
    world.dead.clear()
    world.until(lambda: world.dispatcher.finished == 16)
    assert sorted(world.driver.done) == sorted(set(world.driver.done))
    world.dispatcher.check()


def test_those_lost_together_are_not_suspected_of_each_others_tasks(
    make_world: Callable[..., World],
) -> None:
    world = make_world(4, opened=16, east=2.0)
    world.until(lambda: world.dispatcher.finished == 16)
    dispatching = world.driver.dispatching
    dispatching.tell(StreamOpened(20))  # one acts, three wait
    assert len(world.dispatcher.idle_actors) == 3
    world.dead.add("east")
    dispatching.poll(world.wait(world.fleet.open_requests)[0])  # first the one that acts
    names = {worker.actor for worker in world.fleet.health(world.now)}
    while names & {worker.actor for worker in world.fleet.health(world.now)}:
        world.now += 0.1
        dispatching.poll([])
    world.driver.settle()  # FleetDriver fails where a task is given up
    assert len(world.driver.lost) >= 4
    world.dead.clear()
    world.until(lambda: world.dispatcher.finished == 20)
    assert sorted(world.driver.done) == sorted(set(world.driver.done))
    world.dispatcher.check()
