"""How many actors each host takes, reckoned from what Ray tells and what actors hold.

What Ray says to be free lags behind what the fleet has just started or let go. What others hold is
therefore reckoned once for each look at the hosts, and room follows from it until the next look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cluster.hosts import HostLook, RayHost
from cluster.placement import UNLIMITED, Host, fits
from shared_memory.fleet_wishes import HostState


class HostRooms:
    """`need`: resources of one actor; `host_need`: of what its host must have besides. No I/O."""

    def __init__(self, need: Mapping[str, float], host_need: Mapping[str, float] = {}) -> None:
        self._need = need
        self._host_need = host_need
        self._looked: float | None = None
        self._hosts: tuple[RayHost, ...] = ()
        self._sizes: dict[str, int] = {}
        self._rooms: dict[str, int] = {}

    def take(self, look: HostLook, holding: Mapping[str, int]) -> None:
        """Take in a look at the hosts; the same look counts once.

        `holding`: actors of ours by node that have what they need from Ray.
        """
        if self._looked == look.at and self._hosts == look.hosts:
            return
        self._looked, self._hosts = look.at, look.hosts
        self._sizes, self._rooms = {}, {}
        for host in look.hosts:
            ours = holding.get(host.node, 0)
            usable = {
                name: min(host.total.get(name, 0.0), host.free.get(name, 0.0) + amount * ours)
                for name, amount in self._need.items()
            }
            size = fits(self._need, host.total)
            if not host.total.get("CPU", 0.0):
                size = 0  # `ray start --num-cpus=0`: not for work
            if not fits(self._host_need, host.total):
                size = 0
            self._sizes[host.node] = size
            self._rooms[host.node] = max(ours, fits(self._need, usable)) if size else 0

    def hosts(self, leaving: Collection[str], shunned: Collection[str] = ()) -> list[Host]:
        """For the placement; `leaving` are hosts to be left, beside those that Ray drains, and
        `shunned` those that keep losing actors."""
        return [
            Host(
                node=host.node,
                size=self._sizes[host.node],
                room=self._rooms[host.node],
                leaving=host.draining or host.node in leaving,
                shunned=host.node in shunned,
            )
            for host in self._hosts
        ]

    def states(self, actors: Mapping[str, int], leaving: Collection[str]) -> tuple[HostState, ...]:
        """For those who ask; `actors` by node."""
        return tuple(
            HostState(
                node=host.node,
                hostname=host.hostname,
                address=host.address,
                name=host.name,
                leaving=host.draining or host.node in leaving,
                actors=actors.get(host.node, 0),
                room=-1 if self._rooms[host.node] >= UNLIMITED else self._rooms[host.node],
            )
            for host in self._hosts
        )

    def words(self, node: str) -> str:
        """What a person calls the host."""
        for host in self._hosts:
            if host.node == node:
                return host.words
        return node[:12]

    @property
    def free_words(self) -> str:
        """What was free on which host at the last look."""
        names = [name for name, amount in self._need.items() if amount > 0.0] or ["CPU"]
        free = [
            f"{host.words} has "
            + ", ".join(
                f"{host.free.get(name, 0.0):g} of {host.total.get(name, 0.0):g} {name} free"
                for name in names
            )
            + (" and is to be left" if host.draining else "")
            for host in self._hosts
        ]
        return "; ".join(free) or "there is no host"

    def sentence(self) -> str:
        """What an actor needs, and what is free where."""
        needs = [f"{amount:g} {name}" for name, amount in self._need.items() if amount > 0.0]
        needs += [
            f"a host with {amount:g} {name}"
            for name, amount in self._host_need.items()
            if amount > 0.0
        ]
        return f"each needs {' and '.join(needs) or 'a host that is for work'}; {self.free_words}"
