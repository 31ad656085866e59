"""What the package `alfworld` ships: domain, grammar, types, phrases of tasks, floor plans.

Its files are read where they lie. The package itself is not imported: importing it makes a folder
in the user's home and changes the environment.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.errors import TaskError

ROOMS = ("Kitchen", "LivingRoom", "Bedroom", "Bathroom")
"""The kinds of rooms, as `constants.SCENE_TYPE` names them."""


@dataclass(frozen=True, slots=True)
class FloorPlan:
    """A room of ALFRED: where an agent stands to reach each of its receptacles.

    `poses` holds receptacle identifiers (e.g. "Cabinet|+01.22|+00.39|+00.63") with x, z (metres),
    rotation and horizon (degrees).
    """

    number: int
    room: str
    poses: tuple[tuple[str, tuple[float, float, int, int]], ...]


@lru_cache(maxsize=1)
def pddl_domain() -> str:
    """The text of `alfred.pddl`."""
    return (_folder() / "data" / "alfred.pddl").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def grammar() -> str:
    """The text of `alfred.twl2`; its task reads "UNKNOWN GOAL"."""
    return (_folder() / "data" / "alfred.twl2").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def can_contain() -> dict[str, frozenset[str]]:
    """Receptacle type → the object types that it can hold."""
    held = _module("constants").VAL_RECEPTACLE_OBJECTS
    return {receptacle: frozenset(objects) for receptacle, objects in held.items()}


@lru_cache(maxsize=1)
def abilities() -> dict[str, frozenset[str]]:
    """What can be done to objects ("cleanable", "heatable", …) → their types."""
    constants = _module("constants")
    able = {word.lower(): frozenset(o) for word, o in constants.VAL_ACTION_OBJECTS.items()}
    return {**able, "isReceptacleObject": frozenset(constants.MOVABLE_RECEPTACLES)}


@lru_cache(maxsize=1)
def openable_types() -> frozenset[str]:
    """The receptacle types that are closed at first."""
    return frozenset(_module("constants").OPENABLE_CLASS_LIST)


@lru_cache(maxsize=1)
def goals() -> dict[str, dict[str, Any]]:
    """Task type → {"pddl": its goal with {obj}, {recep}, {toggle}; "templates": its phrases}."""
    return dict(_module("goal_library").gdict)


@lru_cache(maxsize=1)
def floor_plans() -> tuple[FloorPlan, ...]:
    """The 120 floor plans, by number."""
    plans = []
    for file in (_folder() / "gen" / "layouts").glob("FloorPlan*-openable.json"):
        number = int(re.findall(r"\d+", file.name)[0])
        poses = json.loads(file.read_text(encoding="utf-8"))
        reached = tuple(
            (name, (float(x), float(z), int(rotation), int(horizon)))
            for name, (x, z, rotation, horizon) in sorted(poses.items())
        )
        plans.append(FloorPlan(number, room_of(number), reached))
    return tuple(sorted(plans, key=lambda plan: plan.number))


def room_of(floor_plan: int) -> str:
    """The kind of room of a floor plan by its number."""
    return ROOMS[max(floor_plan // 100 - 1, 0)]


@lru_cache(maxsize=1)
def _folder() -> Path:
    found = importlib.util.find_spec("alfworld")
    if found is None or found.origin is None:
        raise TaskError("ALFWorld is not installed: pip install alfworld==0.4.2")
    return Path(found.origin).parent


@lru_cache(maxsize=4)
def _module(name: str) -> ModuleType:
    file = _folder() / "gen" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"alfworld_{name}", file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file} cannot be read: install alfworld==0.4.2 anew")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
