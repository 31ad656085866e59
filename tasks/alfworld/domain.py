"""ALFWorld as a domain: generated games, or real ones from `$ALFWORLD_DATA`.

A task's `problem` is the text of its `game.tw-pddl`. A thing is named by two words, its type and
its number ("apple 2"), all from closed sets, so that a small LM shares what it learns among things
of a type; numbers keep their order, which the search goes by **(ours)**.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tasks.alfworld.commands import ACTIONS
from tasks.alfworld.games import VARIABLE, data_folder, game_index
from tasks.alfworld.generate import PARAMETERS, draw_game, game_text
from tasks.alfworld.household import Goal, Household, plain
from tasks.alfworld.knowledge import PREDICATES
from tasks.alfworld.problem import parse_problem
from tasks.alfworld.simulator import WORDS, AlfworldSimulator
from tasks.digest import content_digest, visible_digest
from tasks.errors import TaskError
from tasks.generators import Parameter
from tasks.naming import NamingRules, by_type
from tasks.pddl import Problem, TypedNames
from tasks.task import Atom, Task

NAME = "alfworld"

GOAL_PREDICATES = {"wanted": 1, "number": 1, "treated": 1, "light": 1, "target": 1}

_STATE = re.compile(r"\((is(?:Hot|Cool|Clean|Sliced|On|Toggled)|opened) (\w+)\)")


@dataclass(frozen=True, slots=True)
class AlfworldSizes:
    """The sizes of generated games."""

    parameters: tuple[Parameter, ...] = PARAMETERS


class AlfworldDomain:
    """Generated games always; real ones (`source: files`) where `$ALFWORLD_DATA` has them."""

    name = NAME
    word = NAME
    actions: Mapping[str, int] = ACTIONS
    predicates: Mapping[str, int] = PREDICATES | GOAL_PREDICATES
    static_predicates: frozenset[str] = frozenset()
    shown_predicates = frozenset(PREDICATES) - {"clutter"}
    constants: TypedNames = WORDS
    naming_rules = NamingRules((), by_type(), frozenset(name for name, _ in WORDS))
    generator = AlfworldSizes()
    simulator_name = NAME

    @property
    def train_files(self) -> tuple[Path, ...]:
        """The real games of the split train; none where `$ALFWORLD_DATA` is not set."""
        return _files("train")

    @property
    def test_files(self) -> tuple[Path, ...]:
        """The real games of valid_seen, then of valid_unseen; an origin tells which."""
        return _files("valid_seen") + _files("valid_unseen")

    def make_simulator(self) -> AlfworldSimulator:
        """A simulator for one game at a time."""
        return AlfworldSimulator()

    def draw(self, size: Mapping[str, tuple[int, int]], seed: int) -> Task:
        """Draw a generated game; `size` holds (least, most) for parameters.

        The same size and seed give the same game on every machine.
        """
        self.check_size(size)
        sizes = random.Random(seed)
        values = {p.name: sizes.randint(*size.get(p.name, p.default)) for p in PARAMETERS}
        drawn = ",".join(f"{name}={value}" for name, value in values.items())
        rng = random.Random(f"{NAME}:{drawn}:{seed}")
        return self.task(game_text(draw_game(rng, values)), f"generator:{NAME}:{drawn}:{seed}")

    def task(self, game: str, origin: str) -> Task:
        """The text of a `game.tw-pddl` as a task; `TaskError` if it cannot be read.

        `digest` is of rooms, things, their states and the goal, up to numbers and coordinates.
        `visible` is of what matters to the goal and can be seen: the receptacles, where the
        objects lie that the goal speaks of, and the goal; games that differ in other objects
        alone count as the same.
        """
        try:
            problem = str(json.loads(game)["pddl_problem"])
        except (ValueError, KeyError, TypeError) as error:
            raise TaskError(f"{origin}: this is no game.tw-pddl ({error!r})") from error
        try:
            household, goal = parse_problem(problem)
        except TaskError as error:
            raise TaskError(f"{origin}: {error}") from error
        digest, visible = digests(household, goal, initial_states(problem))
        return Task(NAME, game, digest, origin, visible=visible)

    def task_from_file(self, file: Path) -> Task:
        """The task of a game's file; `TaskError` if it cannot be read."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read the ALFWorld game {file}: {error}") from error
        name = str(file)
        if os.environ.get(VARIABLE):
            name = name.removeprefix(f"{data_folder()}/")
        return self.task(text, f"file:{NAME}:{name}")

    def task_from_origin(self, origin: str) -> Task:
        """The task again, from its `origin`; `TaskError` if that is none of this domain."""
        kind, _, detail = origin.partition(f":{NAME}:")
        if kind == "file":
            file = Path(detail)
            return self.task_from_file(file if file.is_absolute() else data_folder() / file)
        drawn, _, seed = detail.rpartition(":")
        try:
            values = {name: int(value) for name, value in (p.split("=") for p in drawn.split(","))}
            if kind != "generator":
                raise ValueError(kind)
            return self.draw({name: (value, value) for name, value in values.items()}, int(seed))
        except ValueError as error:
            raise TaskError(f"'{origin}' is not the origin of a task of ALFWorld") from error

    def check_size(self, size: Mapping[str, tuple[int, int]]) -> AlfworldSizes:
        """The sizes of the generator; `TaskError` if it does not take these."""
        known = {parameter.name: parameter for parameter in PARAMETERS}
        for name, (least, most) in size.items():
            if name not in known:
                raise TaskError(
                    f"the generator of '{NAME}' has no size '{name}': it takes {', '.join(known)}"
                )
            if least > most or least < known[name].least:
                raise TaskError(
                    f"size '{name}' of domain '{NAME}' cannot be [{least}, {most}]: "
                    f"it must be [least, most] with {known[name].least} ≤ least ≤ most"
                )
        return self.generator


@lru_cache(maxsize=4)
def _files(split: str) -> tuple[Path, ...]:
    """The files of a split; `TaskError` if `$ALFWORLD_DATA` is set but holds no games."""
    if not os.environ.get(VARIABLE):
        return ()
    index = game_index()
    return tuple(index.file(game) for game in index.select(split))


def digests(
    household: Household, goal: Goal, states: Sequence[tuple[str, str]] = ()
) -> tuple[str, str]:
    """(content, visible) digests, 32 hex digits each; `states` are initial ("isCool", id)."""
    receptacles = [receptacle.identifier for receptacle in household.receptacles]
    types = {receptacle.identifier: receptacle.type for receptacle in household.receptacles}
    types |= {item.identifier: item.type for item in household.items}
    at = Counter(receptacle.location for receptacle in household.receptacles)
    shared = {location: "location" for location, count in at.items() if count > 1}
    inside: set[Atom] = {("in", item.identifier, item.receptacle) for item in household.items}
    initial: set[Atom] = inside | {("stands", name) for name in receptacles}
    initial |= {
        ("at", r.identifier, r.location) for r in household.receptacles if at[r.location] > 1
    }
    initial |= {("openable", r.identifier) for r in household.receptacles if r.openable}
    initial |= {(state, name) for state, name in states if name in types}
    # The goal speaks of types alone, so that its words are part of its predicate.
    asked: tuple[Atom, ...] = ((f"{goal.task_type} {goal.wanted} {goal.target}",),)
    content = Problem("", tuple((types | shared).items()), frozenset(initial), asked)
    matter = {name for name, kind in types.items() if kind in (goal.wanted, goal.target)}
    seen = {
        atom for atom in initial if atom[0] == "stands" or (atom in inside and atom[1] in matter)
    }
    looks = Problem("", tuple(types.items()), frozenset(seen), asked)
    return (
        content_digest(NAME, content, frozenset()),
        visible_digest(NAME, looks, frozenset({"in", "stands"}), types),
    )


def initial_states(problem: str) -> list[tuple[str, str]]:
    """What is hot, cool, clean … at the start, as (predicate, identifier)."""
    return [(word, plain(name)) for word, name in _STATE.findall(problem.split("(:goal")[0])]


@lru_cache(maxsize=1)
def make_domain() -> AlfworldDomain:
    """The domain, for `tasks.worlds`; `TaskError` where `alfworld` is not installed."""
    return AlfworldDomain()
