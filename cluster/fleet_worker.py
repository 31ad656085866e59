"""One actor process as the fleet keeps it, and how Ray is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.records import ActorSetting
from cluster.cast import Cast
from cluster.inference_servers import Chair


@dataclass(frozen=True, slots=True)
class Request:
    """A method of the actor's process, what it is called with, and the words for it."""

    method: str
    values: tuple[Any, ...]
    words: str


@dataclass(slots=True)
class Worker:
    """An actor, from the moment that Ray was asked for it. Times are of the monotonic clock."""

    name: str
    place: int  # its number among those that are there
    handle: Any
    node: str  # Ray's number of its host
    asked: float  # when Ray was asked for it
    request: Any  # object reference of the open request, at first that to start; or None
    pulse: Any  # of the open question whether it is alive
    pulsed: float
    chair: Chair = ("", 0)  # whose inference it asks, where that is shared
    asks: Request | None = None  # what it was asked last; open where `request` is, or is held back
    held: bool = False  # until that inference is up
    placed: bool = False  # its process is there
    up: bool = False  # and it has loaded what acting needs
    going: bool = False  # it was decided that it goes
    dismissed: bool = False  # and it is given nothing more
    farewell: Any = None  # object reference of its giving up what its node shares
    gone_by: float = 0.0
    process: int = 0
    resident_mb: float = 0.0
    doing: str = "start"
    rounds: int = -1
    heard: float = 0.0  # when it last got further, or was asked


def start_worker(
    name: str,
    place: int,
    setting: ActorSetting,
    need: Mapping[str, float],
    node: str,
    now: float,
    cast: Cast,
) -> Worker:
    """Ask for an actor on a node, or on any other where that one is gone; waits for nothing."""
    handle = cast.ask(name, setting, need, node)
    return Worker(
        name=name,
        place=place,
        handle=handle,
        node=node,
        asked=now,
        request=handle.start.remote(),
        pulse=handle.pulse.remote(),
        pulsed=now,
    )
