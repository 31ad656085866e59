"""The driver's end of `nesypr scale` and `nesypr drain`: wishes in, the fleet's state out."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.fleet import Fleet
from cluster.observer import Event, FleetChanged
from configs.schema import ActingConfig
from shared_memory.errors import ServerFullError
from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWishes, HostState

LOOK_EVERY_S = 1.0
TELL_EVERY_S = 5.0
"""The state is told at once where it changed, else so often, as a sign of life."""


def configured_size(acting: ActingConfig) -> FleetSize:
    """How many actors the configuration asks for."""
    if acting.actors_per_host is not None:
        return FleetSize(acting.actors_per_host, each_host=True)
    return FleetSize(acting.actors)


class Steering:
    """Looks once a second at what is asked for, and has the fleet carry it out."""

    def __init__(
        self,
        wishes: FleetWishes,
        fleet: Fleet,
        configured: FleetSize,
        emit: Callable[[Event], None],
    ) -> None:
        self._wishes = wishes
        self._fleet = fleet
        self._configured = configured
        self._emit = emit
        self._looked = float("-inf")
        self._told = float("-inf")
        self._state: FleetState | None = None

    def look(self, now: float) -> None:
        """Take in what is asked for, if it is time. Raises SharedMemoryError."""
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        self._fleet.wish(self._wishes.read(), self._configured)
        state = self._fleet.state()
        before, self._state = self._state, state
        for sentence in _changes(before, state):
            staying = sum(not host.leaving for host in state.hosts)
            self._emit(
                FleetChanged(
                    message=sentence,
                    actors=state.size.number,
                    each_host=state.size.each_host,
                    hosts=staying,
                )
            )
        if state != before or now - self._told >= TELL_EVERY_S:
            self._tell(state)

    def end(self, outcome: str) -> None:
        """Say that the run is over, and how it ended."""
        self._tell(self._fleet.state(outcome))

    def _tell(self, state: FleetState) -> None:
        try:
            self._wishes.tell(state)
        except ServerFullError:
            return  # it is told again soon; who asks meanwhile hears that the driver is silent
        self._told = time.monotonic()


def _changes(before: FleetState | None, after: FleetState) -> list[str]:
    """What is new, in words; nothing at the first look, but that a resumed run has more."""
    if before is None:
        return []
    found = []
    if before.size != after.size:
        found.append(f"{after.size.words} asked for, {before.size.words} before")
    old = {host.node: host for host in before.hosts}
    new = {host.node: host for host in after.hosts}
    found += [f"{_name(host)} joined" for node, host in new.items() if node not in old]
    found += [f"{_name(host)} is gone" for node, host in old.items() if node not in new]
    found += [
        f"{_name(host)} is to be left by its {host.actors} actors"
        if host.leaving
        else f"{_name(host)} stays"
        for node, host in new.items()
        if node in old and host.leaving != old[node].leaving
    ]
    return found


def _name(host: HostState) -> str:
    return f"host {host.words} ({host.node[:8]})"
