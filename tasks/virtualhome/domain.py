"""VirtualHome as a domain: the programs of `virtualhome-eval`, drawn by activity.

Activities are numbered from 1 by how many steps people took for them (the median), so that a range
of numbers is a stretch of a stream; `VirtualHomeDomain.activities` lists them.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tasks.digest import visible_digest
from tasks.errors import TaskError
from tasks.generators import Parameter
from tasks.naming import NamingRules, Pool, by_type
from tasks.pddl import Problem, TypedNames
from tasks.task import Task
from tasks.virtualhome.programs import (
    activities,
    graph_file,
    program_file,
    read_program,
)
from tasks.virtualhome.simulator import (
    ACTIONS,
    PREDICATES,
    STATIC,
    VirtualHomeSimulator,
    group_word,
    problem_text,
)

NAME = "virtualhome"


@dataclass(frozen=True, slots=True)
class VirtualHomeSizes:
    """The one size: which activity."""

    parameters: tuple[Parameter, ...]


class VirtualHomeDomain:
    """All programs with a goal; `ImportError` where `virtualhome-eval` is not installed."""

    name = NAME
    word = NAME
    actions: Mapping[str, int] = ACTIONS
    predicates: Mapping[str, int] = PREDICATES
    static_predicates = STATIC
    shown_predicates = frozenset(PREDICATES)
    naming_rules = NamingRules(
        (Pool("thing"), Pool("room")),
        by_type({"thing": "thing", "room": "room", "doing": "thing"}),
        shown=STATIC,
    )
    test_files: tuple[Path, ...] = ()
    simulator_name = "evolving graph"

    @cached_property
    def activities(self) -> tuple[str, ...]:
        """The activities' names, number 1 first."""
        steps = {
            name: statistics.median(len(read_program(program).steps) for program in programs)
            for name, programs in activities().items()
        }
        return tuple(sorted(steps, key=lambda name: (steps[name], name)))

    @cached_property
    def constants(self) -> TypedNames:
        """The words of the groups of actions that a goal can ask for."""
        words = {
            group_word(group)
            for programs in activities().values()
            for program in programs
            for group in read_program(program).goal.actions
        }
        return tuple((word, "doing") for word in sorted(words))

    @cached_property
    def generator(self) -> VirtualHomeSizes:
        """What `draw` takes."""
        count = len(self.activities)
        return VirtualHomeSizes(
            (Parameter("activity", 1, (1, count), "number of the activity, few steps first"),)
        )

    @cached_property
    def train_files(self) -> tuple[Path, ...]:
        """The programs' files, activity by activity."""
        return tuple(
            program_file(program) for name in self.activities for program in activities()[name]
        )

    def make_simulator(self) -> VirtualHomeSimulator:
        """A simulator; all of a process share the scenes they start from."""
        return VirtualHomeSimulator()

    def draw(self, size: Mapping[str, tuple[int, int]], seed: int) -> Task:
        """Draw an activity, then one of its programs.

        The same size and seed give the same task on every machine.
        """
        (parameter,) = self.check_size(size).parameters
        rng = random.Random(seed)
        number = rng.randint(*size.get(parameter.name, parameter.default))
        return self.task(rng.choice(activities()[self.activities[number - 1]]))

    def task(self, program: str) -> Task:
        """The task of a program, by its name; `TaskError` if there is none."""
        return _task(program)

    def task_from_file(self, file: Path) -> Task:
        """The task of a program's file; `TaskError` if it is none of the data set."""
        return self.task(file.stem.removeprefix("file"))

    def task_from_origin(self, origin: str) -> Task:
        """The task again, from its `origin`; `TaskError` if that is none of this domain."""
        kind, _, program = origin.partition(f":{NAME}:")
        if kind != "program":
            raise TaskError(f"'{origin}' is not the origin of a task of VirtualHome")
        return self.task(program)

    def check_size(self, size: Mapping[str, tuple[int, int]]) -> VirtualHomeSizes:
        """The sizes of the generator; `TaskError` if it does not take these."""
        most = len(self.activities)
        for name, (least, greatest) in size.items():
            if name != "activity":
                raise TaskError(
                    f"the generator of '{NAME}' has no size '{name}': it takes activity"
                )
            if not 1 <= least <= greatest <= most:
                raise TaskError(
                    f"size 'activity' of domain '{NAME}' cannot be [{least}, {greatest}]: "
                    f"it must be [least, most] with 1 ≤ least ≤ most ≤ {most}"
                )
        return self.generator


@lru_cache(maxsize=512)
def _task(program: str) -> Task:
    """The task of a program; `digest` is of scene and goal, `visible` of what a prompt shows."""
    problem = problem_text(program)
    simulator = VirtualHomeSimulator()
    simulator.reset(Task(NAME, problem, "", ""))
    goal = simulator.program.goal
    content = hashlib.blake2b(graph_file(program).read_bytes(), digest_size=16)
    content.update(json.dumps([goal.states, goal.relations, goal.actions]).encode())
    labels = {name: f"={name}" if kind == "doing" else kind for name, kind in simulator.objects}
    shown = Problem(program, simulator.objects, simulator.atoms, simulator.goal)
    visible = visible_digest(NAME, shown, frozenset(PREDICATES), labels)
    return Task(NAME, problem, content.hexdigest(), f"program:{NAME}:{program}", visible=visible)


def make_domain() -> VirtualHomeDomain:
    """The domain, for `tasks.worlds`; `ImportError` where `virtualhome-eval` is not installed."""
    domain = VirtualHomeDomain()
    _ = domain.activities
    return domain
