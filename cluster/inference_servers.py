"""The inference actors of a run: one or a few on each host that has actors, watched and replaced.

Each actor is given the inference actor of its host that fewest others ask, and keeps it. One that
dies, or that an actor has waited for in vain, is killed, and another takes its place; the fleet
holds requests back until that is up. One that nobody asks any more goes. A host that vanishes takes
its own along; as each may be started on any host where its own is gone, none is missing for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray

from actors.inference_actor import InferenceWay
from actors.records import ActorSetting, Pulse
from cluster.cast import REAL_ACTORS, Cast
from cluster.observer import ActorHealth
from cluster.supervisor import Supervisor
from cluster.waits import Wait

START_DEADLINE_S = 180.0
"""As of an actor: it imports torch and transformers on a machine that may be busy."""
PLACED_WITHIN_S = 20.0
PULSE_EVERY_S = 3.0
FAREWELL_S = 2.0

Chair: TypeAlias = tuple[str, int]
"""Which inference actor: Ray's number of a host, and its number there. Who sits there changes."""


@dataclass(slots=True)
class Server:
    """An inference actor's process, from the moment that Ray was asked for it."""

    name: str
    chair: Chair
    handle: Any
    asked: float
    starting: Any  # object reference; None once it has started
    pulse: Any
    pulsed: float
    placed: bool = False
    process: int = 0
    rounds: int = -1
    heard: float = 0.0
    resident_mb: float = 0.0

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        return self.starting is None


@dataclass(frozen=True, slots=True)
class ServerLost:
    """An inference actor died or was killed. `placed`: its process had been there."""

    server: str
    overdue: bool
    sentence: str
    placed: bool


class InferenceServers:
    """`a_host` inference actors on each host, with `gpus` of a GPU each. Waits for nothing."""

    def __init__(
        self, setting: ActorSetting, supervisor: Supervisor, cast: Cast = REAL_ACTORS
    ) -> None:
        acting = setting.acting
        self._setting = setting
        self._gpus = acting.gpus
        self._a_host = acting.inference_actors
        self._deadline_s = acting.request_deadline_s / 2  # leaves an actor time to report
        self._supervisor = supervisor
        self._cast = cast
        self._servers: dict[Chair, Server] = {}
        self._leaving: list[tuple[Server, Any, float]] = []  # with their farewells, until when
        self._numbers: dict[Chair, int] = {}
        self._generations: Counter[Chair] = Counter()

    @property
    def processes(self) -> dict[str, int]:
        """Process number of each that is up, by name."""
        return {each.name: each.process for each in self._servers.values() if each.up}

    @property
    def resident_mb(self) -> float:
        """Resident memory of the largest now, in MiB."""
        return max((each.resident_mb for each in self._servers.values()), default=0.0)

    def chair(self, node: str, taken: Iterable[Chair]) -> Chair:
        """Whom a new actor on this host shall ask; `taken`: whom the others ask."""
        askers = Counter(taken)
        return min(((node, number) for number in range(self._a_host)), key=lambda one: askers[one])

    def way(self, chair: Chair) -> InferenceWay | None:
        """How the one there is asked; None while it is not up."""
        server = self._servers.get(chair)
        if server is None or not server.up:
            return None
        return InferenceWay(server.name, server.handle, self._deadline_s)

    def keep(self, chairs: Collection[Chair], now: float) -> None:
        """Start those that are asked and not there; let those go that nobody asks."""
        for chair in dict.fromkeys(chairs):
            if chair not in self._servers:
                self._start(chair, now)
        for chair, server in list(self._servers.items()):
            if chair not in chairs:
                self._supervisor.closed(server.name)
                del self._servers[chair]
                self._leaving.append((server, server.handle.leave.remote(), now + FAREWELL_S))
        for entry in list(self._leaving):
            server, farewell, until = entry
            if now > until or ray.wait([farewell], timeout=0)[0]:
                self._cast.end(server.handle)
                self._leaving.remove(entry)

    def poll(self, now: float) -> list[ServerLost]:
        """Take in who has started and who is alive; those that were lost, not yet replaced."""
        lost: list[ServerLost] = []
        servers = list(self._servers.values())
        open_ = [one for each in servers for one in (each.starting, each.pulse) if one is not None]
        ready = set(ray.wait(open_, num_returns=len(open_), timeout=0)[0]) if open_ else set()
        for server in servers:
            try:
                self._take(server, ready, now)
            except ray.exceptions.RayError as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                lost += self.lose(server.name, f"{server.name} died: {first}")
        return lost

    def lose(self, name: str, sentence: str, overdue: bool = False) -> list[ServerLost]:
        """Kill the one of this name, if it is still there."""
        for chair, server in self._servers.items():
            if server.name == name:
                self._supervisor.closed(name)
                del self._servers[chair]
                self._cast.end(server.handle)
                return [ServerLost(name, overdue, sentence, server.placed)]
        return []

    def health(self, now: float, words: Callable[[str], str]) -> tuple[ActorHealth, ...]:
        """Each with the age of its last batch; `words`: a host's name, by Ray's number of it."""
        return tuple(
            ActorHealth(
                actor=each.name,
                up=each.up,
                doing="infer" if each.up else "start",
                age_s=now - each.heard,
                host=words(each.chair[0]) if each.placed else "",
            )
            for each in self._servers.values()
        )

    def waits(self) -> list[Wait]:
        """Those that wait for Ray to start their process."""
        what = "to start its process" + (f", which needs {self._gpus:g} GPU" if self._gpus else "")
        return [
            Wait(each.name, "Ray", what, PLACED_WITHIN_S, each.asked)
            for each in self._servers.values()
            if not each.placed
        ]

    def stop(self) -> list[Any]:
        """Ask all to give up what they share: references of their answers. `end` follows."""
        everybody = [*self._servers.values(), *(server for server, _, _ in self._leaving)]
        return [server.handle.leave.remote() for server in everybody if server.up]

    def end(self) -> None:
        """Kill all."""
        for server in [*self._servers.values(), *(server for server, _, _ in self._leaving)]:
            self._supervisor.closed(server.name)
            self._cast.end(server.handle)
        self._servers, self._leaving = {}, []

    def _start(self, chair: Chair, now: float) -> None:
        number = self._numbers.setdefault(chair, len(self._numbers))
        generation = self._generations[chair]
        self._generations[chair] += 1
        name = f"inference-{number}" if generation == 0 else f"inference-{number}.{generation}"
        handle = self._cast.ask_inference(name, self._setting, {"GPU": self._gpus}, chair[0])
        self._servers[chair] = Server(
            name=name,
            chair=chair,
            handle=handle,
            asked=now,
            starting=handle.start.remote(),
            pulse=handle.pulse.remote(),
            pulsed=now,
            heard=now,
        )
        self._supervisor.asked(name, "start", START_DEADLINE_S, now)

    def _take(self, server: Server, ready: Collection[Any], now: float) -> None:
        """Its answers, if they are ready. Raises what Ray raises where it is dead."""
        if server.starting is not None and server.starting in ready:
            started: Pulse = ray.get(server.starting, timeout=10.0)
            server.starting = None
            self._supervisor.closed(server.name)
            self._note(server, started, now)
        if server.pulse is not None and server.pulse in ready:
            pulse: Pulse = ray.get(server.pulse, timeout=10.0)
            server.pulse = None
            self._note(server, pulse, now)
        if server.placed and server.pulse is None and now - server.pulsed >= PULSE_EVERY_S:
            server.pulse, server.pulsed = server.handle.pulse.remote(), now

    def _note(self, server: Server, pulse: Pulse, now: float) -> None:
        if pulse.rounds != server.rounds:
            server.heard = now
        server.placed, server.process, server.rounds = True, pulse.process, pulse.rounds
        server.resident_mb = pulse.resident_mb
