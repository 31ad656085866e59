"""Household layouts: ALFRED's floor plans, with the furniture that they leave out.

The floor plans name the receptacles that an agent was sent to; stove burners, coffee machine,
toaster, bin, toilet, towel holders and hamper are added to them as real games have them **(ours)**.
Small worlds keep a part of a plan's receptacles.
"""

from __future__ import annotations

import random
from functools import lru_cache

from tasks.alfworld.household import Receptacle
from tasks.alfworld.wheel import FloorPlan, floor_plans, openable_types

_FURNITURE = {
    "Kitchen": ("StoveBurner",) * 4 + ("CoffeeMachine", "Toaster", "GarbageCan"),
    "LivingRoom": ("GarbageCan",),
    "Bedroom": ("GarbageCan", "LaundryHamper"),
    "Bathroom": ("Toilet", "GarbageCan", "ToiletPaperHanger", "HandTowelHolder", "TowelHolder"),
}

_STUCK = {"Cabinet": 0.18, "Drawer": 0.16}
"""Share of these that do not open but stand open, as in the train games."""

_METRES = 0.25


@lru_cache(maxsize=8)
def layouts(room: str) -> tuple[tuple[Receptacle, ...], ...]:
    """The layouts of a kind of room, one a floor plan; the same on every machine."""
    return tuple(_layout(plan) for plan in floor_plans() if plan.room == room)


def _layout(plan: FloorPlan) -> tuple[Receptacle, ...]:
    rng = random.Random(plan.number)
    receptacles = [
        _receptacle(rng, name, location(x, z, rotation, horizon))
        for name, (x, z, rotation, horizon) in plan.poses
    ]
    types = {receptacle.type for receptacle in receptacles}
    for kind in _FURNITURE[plan.room]:
        if kind in types:
            continue
        x, z = rng.randint(-8, 8) * _METRES, rng.randint(-8, 8) * _METRES
        name = position(kind, x + rng.randint(1, 24) / 100, 0.9, z)
        place = location(x, z, rng.randrange(4) * 90, rng.choice((45, 60)))
        receptacles.append(_receptacle(rng, name, place))
    return tuple({receptacle.identifier: receptacle for receptacle in receptacles}.values())


def _receptacle(rng: random.Random, name: str, place: str) -> Receptacle:
    kind = name.split("|", 1)[0] + ("Basin" if name.endswith("Basin") else "")
    openable = kind in openable_types() and rng.random() >= _STUCK.get(kind, 0.0)
    return Receptacle(name, kind, place, openable)


def position(kind: str, x: float, y: float, z: float) -> str:
    """A thing's identifier from its position in metres, e.g. "Apple|+01.74|+01.07|-00.68"."""
    return "|".join((kind, *(f"{value + 0.0:+06.2f}" for value in (x, y, z))))


def location(x: float, z: float, rotation: int, horizon: int) -> str:
    """Where an agent stands (metres) and looks (degrees), e.g. "loc|4|-3|2|45"."""
    return f"loc|{round(x / _METRES)}|{round(z / _METRES)}|{rotation // 90 % 4}|{horizon}"
