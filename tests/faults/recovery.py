"""When a run was itself again after a fault, by its log of events. Times are Unix times.

An actor has recovered once its replacement's first episode is in the banks, so that its start, its
first request and its first push are in the time; a learner once it published its next version;
a host once replacements of all actors that were lost with it have finished an episode.
"""

from __future__ import annotations

import re
from typing import Any

from kept_run import KeptRun

_ACTOR = re.compile(r"\bactor-(\d+)(?:\.(\d+))?")
LOST = ("actor_died", "request_overdue")


def place_and_generation(words: str) -> tuple[int, int] | None:
    """(1, 3) of `actor-1.3 died: …`; None where no actor is named."""
    found = _ACTOR.search(words)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def lost_actors(run: KeptRun, since: float) -> list[tuple[int, int]]:
    """Actors of whose loss an alarm told since then."""
    told = [
        place_and_generation(str(alarm["message"]))
        for alarm in run.events["alarm"]
        if alarm["time"] >= since and alarm["kind"] in LOST
    ]
    return [each for each in told if each is not None]


def replaced(run: KeptRun, actor: tuple[int, int], since: float) -> float | None:
    """When a later actor in its place finished its first episode; None: not yet."""
    place, generation = actor
    for episode in run.events["episode"]:
        found = place_and_generation(str(episode["actor"]))
        later = found is not None and found[0] == place and found[1] > generation
        if episode["time"] >= since and later:
            return float(episode["time"])
    return None


def actors_back(run: KeptRun, since: float) -> float | None:
    """When all actors that were lost since then had successors with an episode; None: not yet."""
    lost = lost_actors(run, since)
    times = [replaced(run, actor, since) for actor in lost]
    if not times or any(time is None for time in times):
        return None
    return max(time for time in times if time is not None)


def first_after(events: list[dict[str, Any]], since: float) -> float | None:
    """When the first of these events after that moment was; None: not yet."""
    return next((float(event["time"]) for event in events if event["time"] > since), None)


def settled(run: KeptRun, actors: int, now: float, within_s: float) -> bool:
    """Whether so many places have finished an episode lately, and there is a version."""
    lately = {
        found[0]
        for episode in run.events["episode"][-500:]
        if episode["time"] >= now - within_s
        and (found := place_and_generation(str(episode["actor"]))) is not None
    }
    return len(lately) >= actors and bool(run.events["version"])
