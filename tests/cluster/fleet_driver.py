"""The part of the driver between fleet and dispatcher, for tests of fleets whose actors pretend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.records import ActReport, Assignment
from cluster.dispatcher import Dispatcher, EpisodeReported, GiveUp
from cluster.dispatching import Dispatching
from cluster.fleet import Fleet
from cluster.fleet_events import ActorAnswered, ActorDown


@dataclass(slots=True)
class FleetDriver:
    """Takes what the actors say they acted for acted, as a server's outcomes would tell."""

    fleet: Fleet
    dispatcher: Dispatcher
    issued: dict[int, int] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)  # tasks, as often as they were acted
    lost: list[ActorDown] = field(default_factory=list)
    dispatching: Dispatching = field(init=False)

    def __post_init__(self) -> None:
        self.dispatching = Dispatching(self.fleet, self.dispatcher, self._assigned, _never)

    def _assigned(self, episode: int, task: int) -> Assignment:
        self.issued[episode] = task
        nothing: Any = None  # the actors pretend
        return Assignment(episode, nothing)

    def take(self, ready: Sequence[Any]) -> None:
        """What `Fleet.poll` tells of these references."""
        self.dispatching.poll(ready)
        self.settle()

    def settle(self) -> None:
        """Take in what was polled."""
        for event in self.dispatching.happened():
            match event:
                case ActorAnswered(_, ActReport() as report):
                    for episode in report.episodes:
                        task = self.issued[episode]
                        self.done.append(task)
                        self.dispatching.tell(EpisodeReported(episode, task, 0))
                case ActorDown():
                    self.lost.append(event)


def _never(given_up: GiveUp) -> None:
    raise AssertionError(f"nobody should give up: {given_up}")
