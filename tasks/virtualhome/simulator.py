"""VirtualHome as a simulator: what concerns the task's own objects, as atoms **(ours)**.

A scene has some 290 nodes and 5,700 relations. The task's objects are those of its goal and those
that the person used who wrote the program, and the rooms they are in; atoms speak of these alone.
They show what holds in the scene graph, so that nothing the task needs is hidden: how an object is,
what can be done with it, what it is in or on, what the character holds, faces, and has near, and
which of the actions that the goal asks for have been done. What else stands in the scene acts on
(it may be in reach as well) but is not shown, and no action may name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from tasks.errors import TaskError
from tasks.task import Action, Atom, Task
from tasks.virtualhome.graph_world import GraphWorld
from tasks.virtualhome.programs import CHARACTER, Program, Step, read_program

ACTIONS: Mapping[str, int] = {
    "close": 1,
    "cut": 1,
    "drink": 1,
    "drop": 1,
    "eat": 1,
    "find": 1,
    "grab": 1,
    "lie": 1,
    "lookat": 1,
    "move": 1,
    "open": 1,
    "plugin": 1,
    "plugout": 1,
    "pointat": 1,
    "pour": 2,
    "pull": 1,
    "push": 1,
    "putback": 2,
    "putin": 2,
    "putobjback": 1,
    "putoff": 1,
    "puton": 1,
    "read": 1,
    "rinse": 1,
    "scrub": 1,
    "sit": 1,
    "sleep": 0,
    "squeeze": 1,
    "standup": 0,
    "switchoff": 1,
    "switchon": 1,
    "touch": 1,
    "turnto": 1,
    "type": 1,
    "wakeup": 0,
    "walk": 1,
    "wash": 1,
    "watch": 1,
    "wipe": 1,
}
"""VirtualHome's words; `run` is `walk`. `putback` puts one thing on another."""

PROPERTIES = (
    "CAN_OPEN",
    "CLOTHES",
    "DRINKABLE",
    "EATABLE",
    "GRABBABLE",
    "HAS_PLUG",
    "HAS_SWITCH",
    "LIEABLE",
    "LOOKABLE",
    "MOVABLE",
    "POURABLE",
    "READABLE",
    "RECIPIENT",
    "SITTABLE",
)
STATES = ("CLOSED", "OPEN", "ON", "OFF", "PLUGGED_IN", "PLUGGED_OUT", "CLEAN", "DIRTY")
CHARACTER_STATES = ("SITTING", "LYING")

TO_THINGS = {"ON": "ontop", "INSIDE": "within"}
"""Relations among things → predicate."""

OF_CHARACTER = {
    "ON": "upon",
    "INSIDE": "in_room",
    "CLOSE": "near",
    "FACING": "facing",
    "HOLDS_RH": "right_hand",
    "HOLDS_LH": "left_hand",
}
"""Relations of the character → predicate."""

STATE_WORDS = {state: f"is_{state.lower()}" for state in (*STATES, *CHARACTER_STATES)}
PROPERTY_WORDS = {name: name.lower() for name in PROPERTIES}

STATIC = frozenset(PROPERTY_WORDS.values())
PREDICATES: Mapping[str, int] = {
    **dict.fromkeys(sorted(STATIC), 1),
    **{STATE_WORDS[state]: 1 for state in STATES},
    **{STATE_WORDS[state]: 0 for state in CHARACTER_STATES},
    **dict.fromkeys(TO_THINGS.values(), 2),
    **dict.fromkeys(OF_CHARACTER.values(), 1),
    "reach": 1,
    "worn": 1,
    "done": 1,
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of an episode: the world's state, which never changes, and what was done."""

    state: Any
    groups_done: int
    atoms: frozenset[Atom]


class VirtualHomeSimulator:
    """One task at a time in `virtualhome-eval`'s evolving graph; `whole` as for `GraphWorld`."""

    def __init__(self, whole: bool = False) -> None:
        self._whole = whole
        self._program: Program | None = None
        self._world: GraphWorld | None = None
        self._node_of: dict[str, int] = {}
        self._things: tuple[int, ...] = ()
        self._groups_done = 0
        self._lasting: frozenset[Atom] = frozenset()
        self._atoms: frozenset[Atom] | None = None
        self._text = ""

    def reset(self, task: Task) -> None:
        """Begin the task; `TaskError` if there is no such program."""
        program = read_program(program_name(task.problem))
        world = GraphWorld(program.name, self._whole)
        self._program, self._world = program, world
        nodes = task_nodes(program, world)
        self._node_of = {f"{world.class_of(node)}_{node}": node for node in nodes}
        self._things = tuple(node for node in nodes if not world.is_room(node))
        self._groups_done = 0
        self._lasting = frozenset(
            (PROPERTY_WORDS[name], self._name(node))
            for node in self._things
            for name in world.properties(node)
            if name in PROPERTY_WORDS
        )
        self._atoms = None
        self._text = program.activity

    @property
    def domain(self) -> str:
        """The domain's name."""
        return "virtualhome"

    @property
    def program(self) -> Program:
        """The program of the task; `TaskError` before the first reset."""
        return self._running[0]

    @property
    def world(self) -> GraphWorld:
        """The scene; `TaskError` before the first reset."""
        return self._running[1]

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        """The things and rooms of the task, then the groups of actions."""
        kinds = {
            name: "room" if node not in self._things else "thing"
            for name, node in self._node_of.items()
        }
        groups = dict.fromkeys(map(group_word, self.program.goal.actions), "doing")
        return tuple((kinds | groups).items())

    @property
    def atoms(self) -> frozenset[Atom]:
        """What holds now of the task's objects and of the character."""
        if self._atoms is None:
            self._atoms = self._lasting.union(self._changing())
        return self._atoms

    @property
    def goal(self) -> tuple[Atom, ...]:
        """States, then relations, then the actions that must have been done, in their order."""
        goal = self.program.goal
        return (
            *(self._state_atom(node, state) for node, state in goal.states),
            *(self._relation_atom(*relation) for relation in goal.relations),
            *(("done", group_word(group)) for group in goal.actions),
        )

    @property
    def text(self) -> str:
        """The activity, later what was done last."""
        return self._text

    def step_of(self, action: Action) -> Step | None:
        """The world's step for an action; None if it names what is not of the task."""
        if ACTIONS.get(action[0]) != len(action) - 1:
            return None
        nodes = tuple(self._node_of[name] for name in action[1:] if name in self._node_of)
        return (action[0], nodes) if len(nodes) == len(action) - 1 else None

    def action_of(self, step: Step) -> Action:
        """The action for a step of a program; its nodes must be of the task."""
        word, nodes = step
        return ({"run": "walk", "release": "drop"}.get(word, word), *map(self._name, nodes))

    def applicable_actions(self) -> tuple[Action, ...]:
        """The actions about the task's objects that the world would take now, sorted."""
        found: list[Action] = []
        for word, arity in sorted(ACTIONS.items()):
            for names in permutations(sorted(self._node_of), arity):
                step = (word, tuple(self._node_of[name] for name in names))
                if self._may(step) and self.world.accepts(step):
                    found.append((word, *names))
        return tuple(found)

    def step(self, action: Action) -> bool:
        """Take the action; False if the world refuses it."""
        step = self.step_of(action)
        if step is None or not self._may(step) or not self.world.step(step):
            return False
        groups = self.program.goal.actions
        if self._groups_done < len(groups) and action[0] in groups[self._groups_done]:
            self._groups_done += 1
        self._atoms = None
        self._text = " ".join(action)
        return True

    def snapshot(self) -> Snapshot:
        """What `restore` needs to come back to the present moment of this task."""
        return Snapshot(self.world.state, self._groups_done, self.atoms)

    def restore(self, snapshot: Snapshot) -> None:
        """Come back to a moment of the same task; `text` stays."""
        self.world.state = snapshot.state
        self._groups_done = snapshot.groups_done
        self._atoms = snapshot.atoms

    def goal_conditions(self) -> tuple[int, int]:
        """(conditions met, conditions)."""
        goal = self.goal
        return sum(condition in self.atoms for condition in goal), len(goal)

    @property
    def solved(self) -> bool:
        """Whether all conditions hold."""
        met, conditions = self.goal_conditions()
        return met == conditions

    @property
    def _running(self) -> tuple[Program, GraphWorld]:
        if self._program is None or self._world is None:
            raise TaskError("the simulator of VirtualHome was not given a task yet: reset it first")
        return self._program, self._world

    def _may(self, step: Step) -> bool:
        """Whether it may be asked of the world: rooms are walked to, and nowhere is no place."""
        word, nodes = step
        if word in ("walk", "find"):
            return self.world.room_of(nodes[0]) is not None
        return all(node in self._things for node in nodes)

    def _changing(self) -> Iterator[Atom]:
        world = self.world
        for node in self._things:
            for state in world.states(node):
                yield self._state_atom(node, state)
            for relation, word in TO_THINGS.items():
                for other in sorted(world.related(node, relation)):
                    if other in self._node_of.values():
                        yield (word, self._name(node), self._name(other))
            if CHARACTER in world.related(node, "ON"):
                yield ("worn", self._name(node))
        for state in sorted(world.states(CHARACTER)):
            if state in CHARACTER_STATES:
                yield (STATE_WORDS[state],)
        for relation, word in OF_CHARACTER.items():
            for other in sorted(world.related(CHARACTER, relation)):
                if other in self._node_of.values():
                    yield (word, self._name(other))
        for node in world.within_reach(self._things):
            yield ("reach", self._name(node))
        for group in self.program.goal.actions[: self._groups_done]:
            yield ("done", group_word(group))

    def _state_atom(self, node: int, state: str) -> Atom:
        word = STATE_WORDS[state]
        return (word,) if node == CHARACTER else (word, self._name(node))

    def _relation_atom(self, start: int, relation: str, end: int) -> Atom:
        if start == CHARACTER:
            return (OF_CHARACTER[relation], self._name(end))
        if end == CHARACTER:
            return ("worn", self._name(start))
        return (TO_THINGS[relation], self._name(start), self._name(end))

    def _name(self, node: int) -> str:
        return f"{self.world.class_of(node)}_{node}"


def problem_text(program: str) -> str:
    """The text of a task: which program of the data set it is."""
    return json.dumps({"program": program})


def program_name(problem: str) -> str:
    """The program of a task's text; `TaskError` if it is none."""
    try:
        name = json.loads(problem)["program"]
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(f"'{problem[:60]}' does not name a program of VirtualHome") from error
    return str(name)


def task_nodes(program: Program, world: GraphWorld) -> tuple[int, ...]:
    """The nodes of the goal and of the program, and the rooms they are in, in their order."""
    rooms = {world.room_of(node) for node in (*program.nodes, CHARACTER)}
    return tuple(sorted(program.nodes | {room for room in rooms if room is not None}))


def group_word(group: tuple[str, ...]) -> str:
    """The name of a group of actions of which one must have been done; no action is called so."""
    return f"to_{'_or_'.join(group)}"
