"""The household programs of `virtualhome-eval`: scene graphs, goals, and what people wrote.

Each program belongs to one of 26 activities ("Watch TV") and has a scene graph to begin with, the
conditions that must hold at its end, and the steps that a person wrote. A goal's action groups
("LOOKAT|WATCH") ask that one action of each group is taken, in this order (arXiv:2410.07166).
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from tasks.errors import TaskError

Step: TypeAlias = tuple[str, tuple[int, ...]]
"""An action's word in lower case, then the numbers of the nodes it is about."""

CHARACTER = 65
"""The node that acts, in every scene."""

_PROGRAMS = "dataset/programs_processed_precond_nograb_morepreconds"
_SCENE = "TrimmedTestScene1_graph/results_intentions_march-13-18"
_LINE = re.compile(r"\[(\w+)\]")
_NODE = re.compile(r"\((?:\d+\.)?(\d+)\)")


@dataclass(frozen=True, slots=True)
class Goal:
    """What must hold at the end.

    `states`: (node, state) as in (1001, "CLOSED"); `relations`: (from, relation, to);
    `actions`: the words, in lower case, of which one must have been done, group by group.
    """

    states: tuple[tuple[int, str], ...]
    relations: tuple[tuple[int, str, int], ...]
    actions: tuple[tuple[str, ...], ...]

    @property
    def asks_for_something(self) -> bool:
        """Four programs of the data set have a goal without conditions."""
        return bool(self.states or self.relations or self.actions)


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the data set."""

    name: str
    activity: str
    goal: Goal
    steps: tuple[Step, ...]

    @property
    def nodes(self) -> frozenset[int]:
        """The nodes of the goal and of the steps, without the character."""
        found = {node for _, nodes in self.steps for node in nodes}
        found |= {node for node, _ in self.goal.states}
        found |= {node for start, _, end in self.goal.relations for node in (start, end)}
        return frozenset(found - {CHARACTER})


@lru_cache(maxsize=1)
def virtualhome_folder() -> Path:
    """Where `virtualhome-eval` keeps its files; `ImportError` where it is not installed."""
    found = importlib.util.find_spec("virtualhome_eval")
    if found is None or not found.submodule_search_locations:
        raise ImportError("no module named 'virtualhome_eval'")
    return Path(next(iter(found.submodule_search_locations)))


@lru_cache(maxsize=1)
def activities() -> Mapping[str, tuple[str, ...]]:
    """The programs of each activity that ask for anything, in alphabetical order both."""
    return {
        name: tuple(sorted(p for p, goal in programs.items() if goal.asks_for_something))
        for name, programs in sorted(_goals().items())
    }


def activity_of(program: str) -> str:
    """The activity of a program; `TaskError` if there is no such program."""
    for name, programs in activities().items():
        if program in programs:
            return name
    raise TaskError(f"virtualhome-eval has no program '{program}' with a goal")


@lru_cache(maxsize=512)
def read_program(name: str) -> Program:
    """A program by its name, such as "27_2"; `TaskError` if there is none."""
    activity = activity_of(name)
    lines = program_file(name).read_text(encoding="utf-8").splitlines()
    steps = tuple(_step(line) for line in lines if line.startswith("["))
    return Program(name, activity, _goals()[activity][name], steps)


def program_file(name: str) -> Path:
    """The text of a program."""
    return virtualhome_folder() / _PROGRAMS / "executable_programs" / _SCENE / f"file{name}.txt"


def graph_file(name: str) -> Path:
    """The scene graphs at a program's start and end."""
    graphs = virtualhome_folder() / _PROGRAMS / "init_and_final_graphs"
    return graphs / _SCENE / f"file{name}.json"


@lru_cache(maxsize=1)
def _goals() -> dict[str, dict[str, Goal]]:
    file = virtualhome_folder() / "resources/virtualhome/task_state_LTL_formula_accurate.json"
    scenes = json.loads(file.read_text(encoding="utf-8"))
    return {
        activity: {name: _goal(entry["vh_goal"]) for name, entry in programs.items()}
        for activity, programs in scenes["scene_1"].items()
    }


def _goal(entry: Mapping[str, Any]) -> Goal:
    conditions = entry["goal"]
    states = [(c["id"], c["state"]) for c in conditions if "state" in c]
    relations = [
        (c["from_id"], c["relation_type"], c["to_id"]) for c in conditions if "from_id" in c
    ]
    groups = [tuple(group.lower().replace(" ", "").split("|")) for group in entry["actions"]]
    return Goal(
        tuple(dict.fromkeys(states)), tuple(dict.fromkeys(relations)), tuple(dict.fromkeys(groups))
    )


def _step(line: str) -> Step:
    match = _LINE.match(line)
    if match is None:
        raise TaskError(f"'{line}' is no step of a VirtualHome program")
    return match.group(1).lower(), tuple(int(number) for number in _NODE.findall(line))
