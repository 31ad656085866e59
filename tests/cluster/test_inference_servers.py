"""The real fleet with inference actors, on a simulated Ray: who is asked, and what if it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from test_fleet_simulated import Handle, Reference, World

import cluster.fleet
import cluster.inference_servers
from actors.records import ActReport, Assignment, BrokenOff, StageTimes
from cluster.cast import Cast
from cluster.fleet_events import FleetError
from cluster.inference_servers import InferenceServers
from cluster.supervisor import Supervisor
from configs.schema import ActingConfig


@dataclass(frozen=True)
class Asked:
    """What an actor was asked; it answers by what its inference is like by then."""

    actor: str
    tasks: tuple[Assignment, ...]
    way: Any


class Actor(Handle):
    """An actor that must be told whom to ask, and to whom that one was up."""

    def __init__(self, world: SharedWorld, name: str, node: str) -> None:
        super().__init__(world, name, node)
        self.act = self._method(1.0, self._asked)

    def _asked(self, tasks: tuple[Assignment, ...], way: Any) -> Asked:
        assert not way.handle.ended  # else it was to be held back
        return Asked(self.name, tasks, way)


class SharedWorld(World):
    """With `a_host` inference actors on each host."""

    def __init__(self, actors: int, a_host: int = 1, **hosts: float) -> None:
        self.a_host = a_host
        self.servers: list[Handle] = []
        self.began: list[float] = []
        self.hung: set[str] = set()
        super().__init__(actors, **hosts)

    def _ask(self, name: str, setting: Any, need: Mapping[str, float], node: str) -> Handle:
        self.handles.append(Actor(self, name, node))
        return self.handles[-1]

    def _ask_inference(
        self, name: str, setting: Any, need: Mapping[str, float], node: str
    ) -> Handle:
        landed = node if node in self.hosts and node not in self.dead else next(iter(self.hosts))
        self.servers.append(Handle(self, name, landed))
        self.began.append(self.now)
        return self.servers[-1]

    def _shared(self, supervisor: Supervisor) -> InferenceServers:
        acting = ActingConfig(inference="shared", inference_actors=self.a_host)
        setting: Any = SimpleNamespace(acting=acting)
        cast = Cast(end=self._end, ask_inference=self._ask_inference)
        return InferenceServers(setting, supervisor, cast)

    def get(self, reference: Reference, timeout: float = 0.0) -> object:
        answer = super().get(reference, timeout)
        if not isinstance(answer, Asked):
            return answer
        server, hung = answer.way.handle, answer.way.name in self.hung
        episodes = tuple(task.episode for task in answer.tasks)
        why = None
        if server.gone or hung:
            episodes = episodes[:1]  # one was finished before
            why = BrokenOff(answer.way.name, f"{answer.way.name} broke off", hung)
        return ActReport(answer.actor, 0, episodes, 0, StageTimes(), 1.0, 1.0, broken_off=why)

    @property
    def alive(self) -> dict[str, str]:
        """Inference actors that are there, by name, and where."""
        return {each.name: each.node for each in self.servers if not each.gone}

    def acted_since(self) -> Callable[[], bool]:
        finished = self.dispatcher.finished
        return lambda: self.dispatcher.finished > finished + 64

    def check(self) -> None:
        assert sorted(self.driver.done) == sorted(set(self.driver.done))
        assert len(self.driver.done) == self.dispatcher.finished
        self.dispatcher.check()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SharedWorld]:
    def made(actors: int, **hosts: Any) -> SharedWorld:
        worlds: list[SharedWorld] = []
        simulated = SimpleNamespace(
            wait=lambda *values, **named: worlds[0].wait(*values, **named),
            get=lambda *values, **named: worlds[0].get(*values, **named),
            exceptions=ray.exceptions,
        )
        monkeypatch.setattr(cluster.fleet, "ray", simulated)
        monkeypatch.setattr(cluster.inference_servers, "ray", simulated)
        clock = SimpleNamespace(monotonic=lambda: worlds[0].now if worlds else 1000.0)
        monkeypatch.setattr(cluster.fleet, "time", clock)
        worlds.append(SharedWorld(actors, **hosts))
        return worlds[0]

    return made


def test_each_host_has_its_own_as_hosts_come_and_go(make: Callable[..., SharedWorld]) -> None:
    world = make(4, east=2.0)
    world.until(world.settled(east=4))
    world.until(world.acted_since())
    assert world.alive == {"inference-0": "east"}
    world.hosts["west"] = 2.0
    world.until(world.settled(east=2, west=2))
    world.until(lambda: world.alive == {"inference-0": "east", "inference-1": "west"})
    world.wish(None, "west")
    world.until(world.settled(east=4, west=0))
    world.until(lambda: world.alive == {"inference-0": "east"})
    world.until(world.acted_since())
    assert world.driver.lost == []
    assert world.dispatcher.failed == 0
    world.check()


@pytest.mark.parametrize("hangs", [False, True])
def test_one_that_dies_or_hangs_is_replaced_and_no_actor_with_it(
    make: Callable[..., SharedWorld], hangs: bool
) -> None:
    world = make(4, east=2.0)
    world.until(world.acted_since())
    if hangs:
        world.hung.add("inference-0")
    else:
        world.servers[0].ended = True
    world.until(lambda: world.alive == {"inference-0.1": "east"})
    (lost,) = world.driver.lost
    assert (lost.actor, lost.overdue) == ("inference-0", hangs)
    held = [each for each in world.fleet.health(world.now) if "wait for inf" in each.doing]
    assert len(held) in (3, 4)
    world.until(world.acted_since())
    assert {each.name for each in world.handles} == {f"actor-{place}" for place in range(4)}
    assert len(world.driver.lost) == 1
    assert 0 < world.dispatcher.failed <= 16  # what was in flight; acted again
    world.check()


def test_one_of_a_vanished_host_costs_nothing_on_the_others(
    make: Callable[..., SharedWorld],
) -> None:
    world = make(4, east=2.0, west=2.0)
    world.until(world.settled(east=2, west=2))
    world.until(world.acted_since())
    world.dead.add("west")
    world.until(world.settled(east=4, west=0))
    del world.hosts["west"]
    world.until(world.acted_since())
    assert list(world.alive.values()) == ["east"]
    assert not any(each.actor in ("actor-0", "inference-0") for each in world.driver.lost)
    world.check()


def test_several_on_a_host_share_out_its_actors(make: Callable[..., SharedWorld]) -> None:
    world = make(5, a_host=2, east=4.0)
    world.until(world.acted_since())
    assert world.alive == {"inference-0": "east", "inference-1": "east"}
    askers = Counter(worker.chair for worker in world.fleet._workers.values())
    assert sorted(askers.values()) == [2, 3]


def test_those_that_keep_dying_end_the_run(make: Callable[..., SharedWorld]) -> None:
    world = make(2, east=1.0)

    def dies_as_soon_as_it_is_asked() -> bool:
        for server, began in zip(world.servers, world.began, strict=True):
            server.ended = server.ended or world.now - began > 2.5
        return False

    with pytest.raises(FleetError, match=r"in a row were lost without a report.*inference-0"):
        world.until(dies_as_soon_as_it_is_asked, most_s=200.0)
