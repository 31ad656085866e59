"""Which faults come, when, and to whom: a pure function of a seed. Nothing here touches a process.

A fault is due once so many tasks of the run are finished and so many seconds have gone by since
the fault before it: by tasks, so that all of them fall within the run however fast it goes; by
seconds, so that some come while the run still recovers from another one and some do not.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

FaultKind: TypeAlias = Literal[
    "actor",  # kill -9 of an actor's process
    "actor stopped",  # SIGSTOP of one, for good
    "learner",  # kill -9
    "learner stopped",  # SIGSTOP, for good
    "raylet",  # kill -9 of a worker host's raylet; the host goes on
    "host",  # the plug of a worker host is pulled
    "server",  # kill -9 of the bank's Redis
    "driver",  # kill -9; `nesypr resume` on a host
    "head",  # the plug of the head host is pulled; Ray's own Redis stays
    "cut",  # a host's link lets nothing through
]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
SHARES: dict[FaultKind, int] = {
    "actor": 8,
    "actor stopped": 4,
    "learner": 5,
    "learner stopped": 2,
    "raylet": 4,
    "host": 4,
    "server": 5,
    "driver": 3,
    "head": 2,
    "cut": 3,
}
"""How often each kind comes among 40 faults."""
TASKS_A_FAULT = 14
CUT_S = 20.0
_MOST_PAUSE_S = 6.0
_AWAY_S: dict[FaultKind, tuple[float, float]] = {
    "raylet": (2.0, 6.0),
    "host": (3.0, 10.0),
    "server": (0.5, 4.0),
    "head": (3.0, 12.0),
    "cut": (CUT_S, CUT_S),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `choice` in [0, 1) says whom it strikes among those that are there then."""

    number: int
    kind: FaultKind
    after_tasks: int  # finished tasks of the run, at least
    pause_s: float  # since the fault before it, at least
    away_s: float  # until what was struck is there again; 0: nobody brings it back from outside
    choice: float


def schedule(seed: int, faults: int) -> tuple[Fault, ...]:
    """So many faults, of all kinds where there are enough, in an order drawn by the seed."""
    chance = random.Random(f"faults/{seed}")
    kinds = list(_kinds(faults))
    chance.shuffle(kinds)
    planned = []
    for number, kind in enumerate(kinds):
        least, most = _AWAY_S.get(kind, (0.0, 0.0))
        planned.append(
            Fault(
                number=number,
                kind=kind,
                after_tasks=TASKS_A_FAULT * number + chance.randrange(1, TASKS_A_FAULT),
                pause_s=round(chance.uniform(0.0, _MOST_PAUSE_S), 2),
                away_s=round(chance.uniform(least, most), 2),
                choice=chance.random(),
            )
        )
    return tuple(planned)


def tasks_for(faults: int) -> int:
    """How long a stream must be for the last fault to fall well within it."""
    return max(500, TASKS_A_FAULT * (faults + 2))


def _kinds(faults: int) -> tuple[FaultKind, ...]:
    """The shares by largest remainder; each kind at least once where there is room."""
    total = sum(SHARES.values())
    exact = {kind: faults * share / total for kind, share in SHARES.items()}
    found = Counter({kind: int(share) for kind, share in exact.items()})
    if faults >= len(KINDS):
        found.update(kind for kind in KINDS if not found[kind])
    by_remainder = sorted(KINDS, key=lambda kind: (found[kind] - exact[kind], KINDS.index(kind)))
    while found.total() < faults:
        found.update([by_remainder.pop(0)])
    while found.total() > faults:
        found.subtract([found.most_common(1)[0][0]])
    return tuple(found.elements())
