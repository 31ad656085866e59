"""Games in ALFWorld's own format, made from seeded household layouts; no download is needed.

    game = draw_game(random.Random(0), sizes())     # what a game.tw-pddl holds

A room is one of ALFRED's floor plans or a part of it, the goal is one that real games have, and
things lie where they usually do (`tasks.alfworld.places`); the wanted object never lies at its goal
at the start. A game can always be won: its solution is its "walkthrough", and one who must search
wins it within 50 steps, too. Equal households and goals give equal problems.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from tasks.alfworld.household import Goal, Household, Item, Receptacle
from tasks.alfworld.layout import layouts, location, position
from tasks.alfworld.places import places
from tasks.alfworld.problem import IMMOVABLE, problem_text
from tasks.alfworld.searching import looking_steps
from tasks.alfworld.walkthrough import TREATMENTS, walkthrough
from tasks.alfworld.wheel import can_contain, goals, grammar, pddl_domain
from tasks.errors import TaskError
from tasks.generators.generator import Parameter

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""ALFWorld's six task types, in its numbering."""

PARAMETERS = (
    Parameter("receptacles", 3, (6, 12), "receptacles; a room has no more than its floor plan"),
    Parameter("wanted", 1, (1, 2), "objects of the wanted type; two at least where two are wanted"),
    Parameter("distractors", 0, (4, 10), "objects of other types"),
    *(Parameter(name, 0, (1, 1), f"weight of the task type {name}") for name in TASK_TYPES),
)
"""The sizes of generated games."""

LONGEST_SEARCH = 40
"""Steps that looking for what a goal needs may take (`tasks.alfworld.searching`).

With those to take, treat and put it, ALFWorld's limit of 50 steps is kept. Households of up to 20
receptacles always comply.
"""

_MOST_DRAWS = 200


@dataclass(frozen=True, slots=True)
class _Choice:
    """A room and a goal that can be set in it."""

    room: str
    layout: tuple[Receptacle, ...]
    goal: Goal


def sizes(**given: int) -> dict[str, int]:
    """A value for each parameter: the given ones, else the middle of the default range."""
    return {p.name: given.get(p.name, sum(p.default) // 2) for p in PARAMETERS}


def draw_game(rng: random.Random, size: Mapping[str, int]) -> dict[str, object]:
    """A game as a `game.tw-pddl` holds it: domain, grammar, problem, walkthrough.

    `size` has a value for each of `PARAMETERS`. `TaskError` if all task types weigh nothing.
    """
    weights = [size[name] for name in TASK_TYPES]
    if not any(weights):
        raise TaskError(
            "an ALFWorld generator has weight 0 for every task type: give one of "
            f"{', '.join(TASK_TYPES)} a weight"
        )
    task_type = rng.choices(TASK_TYPES, weights)[0]
    for _ in range(_MOST_DRAWS):
        choice = _choose(rng, task_type)
        household = _furnish(rng, choice, size) if choice else None
        if choice and household and looking_steps(household, choice.goal) <= LONGEST_SEARCH:
            phrase = str(rng.choice(goals()[task_type]["templates"]))
            goal = choice.goal
            words = {"obj": goal.wanted, "recep": goal.target, "toggle": goal.target}
            task = phrase.format(**{name: word.lower() for name, word in words.items()})
            return {
                "pddl_domain": pddl_domain(),
                "grammar": grammar().replace("UNKNOWN GOAL", task),
                "pddl_problem": problem_text("generated", household, goal),
                "solvable": True,
                "walkthrough": list(walkthrough(household, goal)),
            }
    raise TaskError(
        f"no household of {size['receptacles']} receptacles fits a task of type {task_type} "
        f"in {_MOST_DRAWS} draws: allow more receptacles"
    )


def game_text(game: Mapping[str, object]) -> str:
    """The game as the text of a `game.tw-pddl`."""
    return json.dumps(game)


def _choose(rng: random.Random, task_type: str) -> _Choice | None:
    """A room and a goal, as often as the train games set it; None if that room lacks the place."""
    known, counts = _known_goals(task_type)
    room, _, wanted, target = rng.choices(known, cum_weights=counts)[0]
    layout = rng.choice(layouts(room))
    types = {receptacle.type for receptacle in layout}
    needed = {target} if task_type != "look_at_obj_in_light" else set()
    if task_type in TREATMENTS:
        needed.add(TREATMENTS[task_type][1])
    if not needed <= types:
        return None
    return _Choice(room, layout, Goal(task_type, wanted, target))


@lru_cache(maxsize=8)
def _known_goals(task_type: str) -> tuple[list[tuple[str, str, str, str]], list[int]]:
    """The goals of that type in train games, with their counts summed up."""
    known = {goal: count for goal, count in places().goals.items() if goal[1] == task_type}
    return list(known), list(accumulate(known.values()))


def _furnish(rng: random.Random, choice: _Choice, size: Mapping[str, int]) -> Household | None:
    """Part of the layout with the goal's things and some others; None if they find no place."""
    room, goal = choice.room, choice.goal
    lit = goal.task_type == "look_at_obj_in_light"
    kept: list[Receptacle] = []
    if not lit:
        kept.append(rng.choice([r for r in choice.layout if r.type == goal.target]))
    if goal.task_type in TREATMENTS:
        tool = TREATMENTS[goal.task_type][1]
        if all(receptacle.type != tool for receptacle in kept):
            kept.append(rng.choice([r for r in choice.layout if r.type == tool]))
    elsewhere = [r for r in choice.layout if r.type != goal.target]
    first = _place(rng, room, goal.wanted, elsewhere)
    lamp = _place(rng, room, goal.target, elsewhere) if lit else None
    if first is None or (lit and lamp is None):
        return None
    kept.extend(place for place in (first, lamp) if place and place not in kept)
    names = {receptacle.identifier for receptacle in kept}
    rest = [receptacle for receptacle in choice.layout if receptacle.identifier not in names]
    more = max(0, min(size["receptacles"] - len(names), len(rest)))
    names |= {receptacle.identifier for receptacle in rng.sample(rest, more)}
    receptacles = tuple(r for r in choice.layout if r.identifier in names)

    stock = _Stock()
    stock.add(goal.wanted, first)
    if lamp:
        stock.add(goal.target, lamp)
    elsewhere = [r for r in receptacles if r.type != goal.target]
    two = goal.task_type == "pick_two_obj_and_place"
    for _ in range(max(size["wanted"], 2 if two else 1) - 1):
        stock.add(goal.wanted, _place(rng, room, goal.wanted, elsewhere) or first)
    for kind in _other_types(rng, room, goal, size["distractors"]):
        place = _place(rng, room, kind, receptacles)
        if place:
            stock.add(kind, place)
    taken = {receptacle.location for receptacle in choice.layout}
    agent = ""
    while not agent or agent in taken:
        agent = location(rng.randint(-8, 8) / 4, rng.randint(-8, 8) / 4, 0, 30)
    return Household(receptacles, tuple(stock.items), agent)


def _other_types(rng: random.Random, room: str, goal: Goal, count: int) -> list[str]:
    """Types of things that lie about in such a room; none of those that the goal speaks of."""
    counts = _types_in(room)
    weights = [0 if kind in (goal.wanted, goal.target) else n for kind, n in counts.items()]
    return rng.choices(list(counts), weights, k=count)


@lru_cache(maxsize=4)
def _types_in(room: str) -> dict[str, int]:
    """Object types that lie about in such a room, with how many there were."""
    known = frozenset().union(*can_contain().values()) | IMMOVABLE
    counts: dict[str, int] = {}
    for (where, kind, _), number in places().held.items():
        if where == room and kind in known:
            counts[kind] = counts.get(kind, 0) + number
    return counts


def _place(
    rng: random.Random, room: str, kind: str, receptacles: Sequence[Receptacle]
) -> Receptacle | None:
    """Where an object of a type lies, as often as in real games; None if nowhere here."""
    weights = [places().share(room, kind, receptacle.type) for receptacle in receptacles]
    return rng.choices(receptacles, weights)[0] if any(weights) else None


class _Stock:
    """Objects put into receptacles; an object's position tells its place and what was before it."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._used: set[str] = set()

    def add(self, kind: str, place: Receptacle) -> None:
        x, y, z = (float(part) for part in place.identifier.split("|")[1:4])
        identifier = position(kind, x, y, z)
        while identifier in self._used:
            x += 0.03
            identifier = position(kind, x, y, z)
        self._used.add(identifier)
        self.items.append(Item(identifier, kind, place.identifier))
