"""Between dispatcher and fleet: what happened to actors is told, and what follows is asked of them.

The fleet lets actors that it lost go at once, several together where a host goes; what it tells of
that is taken in order with everything else. Until then the dispatcher knows that they leave: none
of them is asked for anything, nor suspected of tasks that another one was lost with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from actors.records import ActReport, Assignment
from cluster.dispatcher import (
    ActorLeaves,
    ActorLost,
    ActorReady,
    Dispatcher,
    Event,
    GiveUp,
    Instruction,
    Issue,
    LeaseReturned,
)
from cluster.fleet import Fleet
from cluster.fleet_events import (
    ActorAnswered,
    ActorDown,
    ActorGone,
    ActorToLeave,
    ActorUp,
    FleetEvent,
)


class Dispatching:
    """Carries out what the dispatcher says of a fleet.

    `assign`: the task of an episode and the task's number in the stream, as an actor is given it;
    `give_up`: what is done about an episode that was lost too often.
    """

    def __init__(
        self,
        fleet: Fleet,
        dispatcher: Dispatcher,
        assign: Callable[[int, int], Assignment],
        give_up: Callable[[GiveUp], None],
    ) -> None:
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._assign = assign
        self._give_up = give_up
        self._happened: deque[FleetEvent] = deque()
        self._said: deque[Instruction] = deque()  # and not carried out yet

    def poll(self, ready: Sequence[Any]) -> None:
        """Have the fleet look after its actors; `ready` are the references that came in."""
        events = self._fleet.poll(ready)
        self._happened.extend(events)
        for event in events:
            if isinstance(event, (ActorDown, ActorGone)):
                self.tell(ActorLeaves(event.actor))

    def tell(self, event: Event) -> None:
        """Hand an event to the dispatcher and carry out what it says.

        Where that fails, what is left of it is carried out with the next event.
        """
        self._said.extend(self._dispatcher.handle(event))
        while self._said:
            match self._said[0]:
                case Issue(actor, episodes):
                    tasks = [self._assign(episode, task) for episode, task in episodes]
                    self._fleet.act(actor, tasks)
                case GiveUp() as given_up:
                    self._give_up(given_up)
            self._said.popleft()

    def happened(self) -> Iterator[FleetEvent]:
        """Everything that was polled, in order; the dispatcher is told of each once the caller
        has taken it."""
        while self._happened:
            event = self._happened.popleft()
            yield event
            match event:
                case ActorUp(actor):
                    self.tell(ActorReady(actor))
                case ActorAnswered(actor, ActReport() as report):
                    self.tell(LeaseReturned(actor, report.episodes))
                case ActorAnswered(actor):
                    self.tell(ActorReady(actor))
                case ActorToLeave(actor):
                    self.tell(ActorLeaves(actor))
                    self._fleet.dismiss(actor)
                case ActorGone(actor) | ActorDown(actor):
                    self.tell(ActorLost(actor))
