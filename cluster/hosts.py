"""The hosts of the Ray cluster as Ray's head tells of them, looked at again and again.

A head that is away for a while must not hold up the driver, so the looking is done by a thread of
its own and the driver reads what was seen last. Which hosts are being drained, and what is free on
each, only Ray's internal state tells (Ray 2.60, which is pinned); it is asked for here alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import ray
from ray._private.state import state as ray_state

from cluster.placement import UNLIMITED
from configs.errors import NesyprError

LOOK_EVERY_S = 2.0
FIRST_LOOK_DEADLINE_S = 60.0
LOOKS_WITHOUT_US = 3
"""Looks in a row that lack the driver's own host, after which it is believed to be cast out."""
STALE_AFTER_S = 30.0
"""Without a look for so long, the driver waits for Ray's head."""


class CastOutError(NesyprError):
    """Ray gave up the host of this driver, and starts nothing for it any more."""


@dataclass(frozen=True, slots=True)
class RayHost:
    """A live host. Resources by Ray's names (CPU, GPU): in all, and what nobody has taken."""

    node: str  # Ray's number of it
    hostname: str
    address: str
    name: str
    total: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)
    draining: bool = False  # Ray was told that it will leave

    @property
    def words(self) -> str:
        """What a person calls it."""
        return self.hostname or self.address or self.node[:12]


@dataclass(frozen=True, slots=True)
class HostLook:
    """One look at the cluster: when (monotonic clock) and what was there."""

    at: float
    hosts: tuple[RayHost, ...]


class HostWatch:
    """Looks at the cluster from its construction until `stop`.

    Ray must be up. `latest` never waits but for the first look.
    """

    def __init__(self, every_s: float = LOOK_EVERY_S) -> None:
        self._every_s = every_s
        self._own = ray.get_runtime_context().get_node_id()
        self._own_missing: int | None = None  # looks in a row that lacked it; None: never there
        self._look = HostLook(time.monotonic(), ())
        self._wanted: tuple[Mapping[str, float], int] | None = None
        self._seen = threading.Event()
        self._waited = False  # for the first look: once, that the driver's turns stay short
        self._stop = threading.Event()
        self._again = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)
        self._thread.start()

    def latest(self) -> HostLook:
        """The last look; without any host where Ray's head has not answered yet.

        Raises CastOutError once Ray's head holds this host for dead (its link was cut for long):
        even if it joins anew, the head takes this driver for one that ended with it.
        """
        if not self._waited:
            self._seen.wait(FIRST_LOOK_DEADLINE_S)
            self._waited = True
        if (self._own_missing or 0) >= LOOKS_WITHOUT_US:
            raise CastOutError(
                "Ray's head holds the host of this driver for dead (was its link cut?) and starts "
                "no process for it any more: go on with the run by `nesypr resume`, here or on "
                "another host"
            )
        return self._look

    @property
    def looked(self) -> float:
        """When the last look was (monotonic clock); before the first, when looking began."""
        return self._look.at

    @property
    def problem(self) -> str:
        """Why the last look failed; "" where it did not."""
        return self._problem

    def want(self, need: Mapping[str, float], count: int) -> None:
        """Tell Ray's autoscaler, where there is one, that so many actors need so much each."""
        if (need, count) != self._wanted and (count or self._wanted is not None):
            self._wanted = (need, count)
            self._again.set()

    def stop(self) -> None:
        """Look no more, and ask Ray's autoscaler for nothing more."""
        if self._wanted is not None:
            self._wanted = (self._wanted[0], 0)
        self._stop.set()
        self._again.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        told, hurried = None, False
        while True:
            stopping = self._stop.is_set()
            try:
                if not stopping:
                    hosts = look()
                    if any(host.node == self._own for host in hosts):
                        self._own_missing = 0
                    elif self._own_missing is not None and not hurried:
                        self._own_missing += 1
                    self._look = HostLook(time.monotonic(), hosts)
                    self._problem = ""
                    self._seen.set()
                wanted = self._wanted
                if wanted is not None and told != wanted:
                    _request(*wanted)
                    told = wanted
            except Exception as error:  # noqa: BLE001 - told by the fleet once it lasts; tried again
                self._problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if stopping:
                return
            hurried = self._again.wait(self._every_s)
            self._again.clear()


class TrialHosts:
    """In place of a `HostWatch` inside a placement group, such as that of a trial of Ray Tune.

    Where actors go was decided with the group, so that it looks like one host that takes all. It
    has no number (node "" is Ray's own choice, which stays inside the group).
    """

    def __init__(self) -> None:
        room = {"CPU": float(UNLIMITED), "GPU": float(UNLIMITED)}
        group = RayHost("", "the placement group", "", "", room, room)
        self._look = HostLook(time.monotonic(), (group,))
        self.problem = ""

    def latest(self) -> HostLook:
        """The one host."""
        return self._look

    @property
    def looked(self) -> float:
        """Just now."""
        return time.monotonic()

    def want(self, need: Mapping[str, float], count: int) -> None:
        """Nothing more is to be had."""

    def stop(self) -> None:
        """Nothing runs."""


def look() -> tuple[RayHost, ...]:
    """The live hosts now. Waits for Ray's head; raises what Ray raises."""
    free = ray_state.available_resources_per_node()
    draining = ray_state.get_draining_nodes()
    return tuple(
        RayHost(
            node=node["NodeID"],
            hostname=node["NodeManagerHostname"],
            address=node["NodeManagerAddress"],
            name=node.get("NodeName", ""),
            total=node["Resources"],
            free=free.get(node["NodeID"], {}),
            draining=node["NodeID"] in draining,
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def _request(need: Mapping[str, float], count: int) -> None:
    from ray.autoscaler.sdk import request_resources

    bundle = {name: amount for name, amount in need.items() if amount > 0.0}
    request_resources(bundles=[bundle] * count if bundle else [])
