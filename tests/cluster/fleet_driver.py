"""The part of the driver between fleet and dispatcher, for tests of fleets whose actors pretend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.records import ActReport, Assignment
from cluster.dispatcher import (
    ActorLeaves,
    ActorLost,
    ActorReady,
    Dispatcher,
    EpisodeReported,
    Event,
    Issue,
    LeaseReturned,
)
from cluster.fleet import Fleet
from cluster.fleet_events import ActorAnswered, ActorDown, ActorGone, ActorToLeave, ActorUp


@dataclass(slots=True)
class FleetDriver:
    """Hands the fleet's events to the dispatcher, and carries out what it says."""

    fleet: Fleet
    dispatcher: Dispatcher
    issued: dict[int, int] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)  # tasks, as often as they were acted
    lost: list[ActorDown] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        for instruction in self.dispatcher.handle(event):
            assert isinstance(instruction, Issue)
            self.issued.update(instruction.episodes)
            tasks: Any = [Assignment(episode, None) for episode, _ in instruction.episodes]  # type: ignore[arg-type]
            self.fleet.act(instruction.actor, tasks)

    def take(self, ready: Sequence[Any]) -> None:
        """What `Fleet.poll` tells of these references."""
        for event in self.fleet.poll(ready):
            match event:
                case ActorUp(actor):
                    self.tell(ActorReady(actor))
                case ActorAnswered(actor, ActReport() as report):
                    for episode in report.episodes:
                        self.done.append(self.issued[episode])
                        self.tell(EpisodeReported(episode, self.issued[episode], 0))
                    self.tell(LeaseReturned(actor, report.episodes))
                case ActorToLeave(actor):
                    self.tell(ActorLeaves(actor))
                    self.fleet.dismiss(actor)
                case ActorGone(actor):
                    self.tell(ActorLost(actor))
                case ActorDown(actor):
                    self.lost.append(event)
                    self.tell(ActorLost(actor))
