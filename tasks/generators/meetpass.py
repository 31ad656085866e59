"""Meet-and-pass problems: trains share few tracks, one train a track.

Tracks are connected as a random tree, with more connections if a run asks for them. The goal is
where trains can be brought from the start: a random walk leads there, and every move can be taken
back. Each of these trains is elsewhere at the start.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.generators.maps import random_map
from tasks.naming import NamingRules, Pool
from tasks.pddl import Problem, TypedNames
from tasks.task import Atom

_WALK = 60
"""Moves from the start to the goal; the shortest way takes far fewer."""


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["trains"]` trains on more tracks, as a rule `size["tracks"]`."""
    trains = [f"train{i}" for i in range(1, size["trains"] + 1)]
    count = max(size["tracks"], len(trains) + 1)
    tracks = [f"track{i}" for i in range(1, count + 1)]
    connected = sorted(random_map(rng, tracks, size["loops"], reach=3))
    while True:
        start = dict(zip(trains, rng.sample(tracks, len(trains))))
        end = dict(start)
        for _ in range(_WALK):
            train = rng.choice(trains)
            free = [b for a, b in connected if a == end[train] and b not in end.values()]
            if free:
                end[train] = rng.choice(free)
        wanted = [("at", train, track) for train, track in end.items()]
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if all(start[train] != track for _, train, track in goal):
            break
    initial: set[Atom] = {("at", train, track) for train, track in start.items()}
    initial |= {("clear", track) for track in tracks if track not in start.values()}
    initial |= {("connected", a, b) for a, b in connected}
    objects = tuple((name, "default") for name in (*tracks, *trains))
    return Problem(f"meetpass-{len(tracks)}-{len(trains)}", objects, frozenset(initial), goal)


def trains_and_tracks(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
    """The pool of each object: what is at something is a train."""
    trains = {atom[1] for atom in atoms if atom[0] == "at"}
    return {name: "train" if name in trains else "track" for name, _ in objects}


MEETPASS = Generator(
    (
        Parameter("trains", 1, (3, 4), "trains"),
        Parameter("tracks", 3, (7, 8), "tracks, at least one more than trains"),
        Parameter("loops", 0, (0, 0), "connections beyond those of a tree"),
        goals(3, 4),
    ),
    draw,
    # A track is clear where no train is.
    NamingRules(
        (Pool("train"), Pool("track")),
        trains_and_tracks,
        shown=frozenset({"connected"}),
        implied=frozenset({"clear"}),
    ),
)
