"""Where things usually are: counts over ALFWorld's train games, as a table in this folder.

    python -m tasks.alfworld.places FOLDER_OF_TRAIN_GAMES     # writes tasks/alfworld/places.json

Generated households put things where real ones have them, and the searching teacher looks there
first. Only sums over the train games are kept: how often a type lay in a receptacle of a type,
how many such receptacles there were, and how often each goal was set, by the kind of room.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tasks.alfworld.wheel import ROOMS, room_of

TABLE = Path(__file__).with_name("places.json")

_ATOM = re.compile(r"\((receptacleType|objectType|inReceptacle) (\w+) (\w+)\)")


@dataclass(frozen=True, slots=True)
class Places:
    """The table; keys begin with the kind of room."""

    held: dict[tuple[str, str, str], int]
    """(room, object type, receptacle type) → objects found there."""

    receptacles: dict[tuple[str, str], int]
    """(room, receptacle type) → receptacles."""

    goals: dict[tuple[str, str, str, str], int]
    """(room, task type, wanted type, target type) → games."""

    def share(self, room: str, kind: str, receptacle: str) -> float:
        """Objects of type `kind` for each receptacle of that type in such a room."""
        count = self.receptacles.get((room, receptacle), 0)
        return self.held.get((room, kind, receptacle), 0) / count if count else 0.0


@lru_cache(maxsize=1)
def places() -> Places:
    """The table as it lies in this folder."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    split = {name: {tuple(k.split()): n for k, n in table[name].items()} for name in table}
    return Places(split["held"], split["receptacles"], split["goals"])


def rooms_with(kind: str) -> tuple[str, ...]:
    """The kinds of rooms where objects of a type are found."""
    found = {room for room, held, _ in places().held if held == kind}
    return tuple(room for room in ROOMS if room in found)


def count(folder: Path) -> dict[str, dict[str, int]]:
    """The table over all games below a folder whose parts are named as ALFWorld names them."""
    held: Counter[str] = Counter()
    receptacles: Counter[str] = Counter()
    goals: Counter[str] = Counter()
    for file in sorted(folder.rglob("game.tw-pddl")):
        task_type, wanted, _, target, plan = file.parents[1].name.split("-")
        room = room_of(int(plan))
        atoms = _ATOM.findall(json.loads(file.read_text(encoding="utf-8"))["pddl_problem"])
        kind = {a: b.removesuffix("Type") for word, a, b in atoms if word != "inReceptacle"}
        goals[f"{room} {task_type} {wanted} {target}"] += 1
        receptacles.update(f"{room} {kind[a]}" for word, a, _ in atoms if word == "receptacleType")
        held.update(f"{room} {kind[a]} {kind[b]}" for word, a, b in atoms if word == "inReceptacle")
    counted = {"goals": goals, "held": held, "receptacles": receptacles}
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}


if __name__ == "__main__":
    written = json.dumps(count(Path(sys.argv[1])), indent=0)
    TABLE.write_text(written + "\n", encoding="utf-8")
