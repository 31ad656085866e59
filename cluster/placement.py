"""Which actors run on which hosts: a pure decision, from what there is to what is to be done.

Ray places an actor once and never again: a host that joins stays empty, and one that is to leave
keeps its actors until it is gone. So the fleet asks here, again and again, what to start and which
actors shall go **(ours)**. A number for the whole run is shared out by the size of the hosts; an
actor is moved only where that makes the fullest of two hosts less full, so that nothing swings to
and fro. A number for each host is just that. Where a host has no room, actors wait and are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared_memory.fleet_wishes import FleetSize

UNLIMITED = 2**30
"""Room of a host where actors ask for nothing that runs out."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the cluster. `size` and `room` are numbers of actors, ours included: on the empty
    host, and now, with what others have taken."""

    node: str
    size: int
    room: int
    leaving: bool = False
    shunned: bool = False


@dataclass(frozen=True, slots=True)
class Seat:
    """An actor and its host. `placed`: its process is there; else Ray was only asked for it.
    `going`: it was told to go, but still takes up room."""

    actor: str
    node: str
    placed: bool = True
    going: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do: start an actor on each of these nodes, let these actors go.

    `waiting`: how many are wanted beside all this, but have no room.
    """

    start: tuple[str, ...]
    leave: tuple[str, ...]
    waiting: int


def placement(size: FleetSize, hosts: Iterable[Host], seats: Sequence[Seat]) -> Placement:
    """From the number asked for, the hosts and the actors in order of their start, what to do.

    Actors on a host that is not known (yet, or any more) stay and are counted: whether they live
    is for others to find out.
    """
    table = _Table(hosts, seats)
    table.clear_leaving()
    table.clear_unplaced()
    if size.each_host:
        waiting = table.fill_each(size.number)
    else:
        table.shrink(size.number)
        waiting = table.grow(size.number)
        table.level()
    return Placement(tuple(table.start), tuple(table.leave), waiting)


def fits(need: Mapping[str, float], have: Mapping[str, float]) -> int:
    """How many times the resources needed are in those that there are; `UNLIMITED` of nothing."""
    counts = [
        int(have.get(name, 0.0) / amount + 1e-6) for name, amount in need.items() if amount > 0.0
    ]
    return max(0, min(counts, default=UNLIMITED))


class _Table:
    """The seats by host, as the steps of one decision change them."""

    def __init__(self, hosts: Iterable[Host], seats: Sequence[Seat]) -> None:
        self.start: list[str] = []
        self.leave: list[str] = []
        hosts = tuple(hosts)
        self._unfit = {host.node for host in hosts if host.leaving or host.size < 1}
        self._hosts = {
            host.node: host for host in hosts if host.node not in self._unfit
        }  # in their order
        self._going = dict.fromkeys(self._hosts, 0)
        self._seated: dict[str, list[Seat]] = {node: [] for node in self._hosts}
        self._elsewhere: list[Seat] = []  # on unfit and unknown hosts
        for seat in seats:
            if seat.going:
                if seat.node in self._going:
                    self._going[seat.node] += 1
            else:
                self._seated.get(seat.node, self._elsewhere).append(seat)

    def _count(self, node: str) -> int:
        return len(self._seated[node])

    def _with_room(self) -> list[str]:
        """Hosts that take one more, in their order."""
        return [
            node
            for node, host in self._hosts.items()
            if self._count(node) + self._going[node] < host.room
        ]

    def _trusted(self, nodes: list[str]) -> list[str]:
        return [node for node in nodes if not self._hosts[node].shunned]

    def _fullness(self, node: str, more: int = 0) -> tuple[float, int]:
        """How full a host is (would be); the second breaks ties of hosts without end."""
        count = self._count(node) + more
        return count / self._hosts[node].size, count

    def _let_go(self, seat: Seat) -> None:
        self.leave.append(seat.actor)
        if seat.node in self._seated:
            self._seated[seat.node].remove(seat)
            self._going[seat.node] += 1
        else:
            self._elsewhere.remove(seat)

    def _begin(self, node: str) -> None:
        self.start.append(node)
        self._seated[node].append(Seat("", node, placed=False))

    def clear_leaving(self) -> None:
        """Nobody stays on a host that leaves."""
        for seat in [seat for seat in self._elsewhere if seat.node in self._unfit]:
            self._let_go(seat)

    def clear_unplaced(self) -> None:
        """Where others took the room before Ray placed an actor, it need not wait for it."""
        for node, host in self._hosts.items():
            excess = self._count(node) + self._going[node] - host.room
            late = [seat for seat in self._seated[node] if not seat.placed]
            for seat in late[::-1][: max(0, excess)]:
                self._let_go(seat)
                self._going[node] -= 1  # it never took up room

    def shrink(self, number: int) -> None:
        """Let go whatever is too many, from the fullest hosts, the last started first."""
        while self._total() > number:
            nodes = [node for node in self._hosts if self._seated[node]]
            if nodes:
                fullest = max(reversed(nodes), key=self._fullness)
                seats = self._seated[fullest]
                self._let_go(min(reversed(seats), key=lambda seat: seat.placed))
            else:
                self._let_go(self._elsewhere[-1])

    def grow(self, number: int) -> int:
        """Start what is missing on the emptiest hosts; how many have no room."""
        while (missing := number - self._total()) > 0:
            nodes = self._with_room()
            if not nodes:
                return missing
            self._begin(
                min(self._trusted(nodes) or nodes, key=lambda node: self._fullness(node, 1))
            )
        return 0

    def level(self) -> None:
        """Move actors from full hosts to emptier ones, while that makes the fuller less full."""
        while True:
            full = [
                node
                for node in self._hosts
                if any(seat.placed and seat.actor for seat in self._seated[node])
            ]
            free = self._trusted(self._with_room())
            if not full or not free:
                return
            source = max(reversed(full), key=self._fullness)
            target = min(free, key=lambda node: self._fullness(node, 1))
            if self._fullness(target, 1)[0] >= self._fullness(source)[0]:
                return
            seats = [seat for seat in self._seated[source] if seat.placed and seat.actor]
            self._let_go(seats[-1])
            self._begin(target)

    def fill_each(self, number: int) -> int:
        """As many on each host; how many have no room."""
        waiting = 0
        trusted = self._trusted(list(self._hosts)) or list(self._hosts)
        for node in self._hosts:
            while self._count(node) > number:
                seats = self._seated[node]
                self._let_go(min(reversed(seats), key=lambda seat: seat.placed))
            while self._count(node) < number and node in trusted and node in self._with_room():
                self._begin(node)
            waiting += max(0, number - self._count(node))
        return waiting

    def _total(self) -> int:
        return len(self._elsewhere) + sum(len(seats) for seats in self._seated.values())
