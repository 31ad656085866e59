"""The domains: PDDLGym's by name, other worlds by name, and a user's folder with `domain.pddl`.

    domain = get_domain("blocks")
    domain.actions      # {"pickup": 1, "putdown": 1, "stack": 2, "unstack": 1}
    domain.generator    # the sizes of its generator; None where only files exist

What streams, rendering and actors need of a domain is the protocol `Domain`. A domain in PDDL
(`tasks.pddl_domain`) has more, for simulators and planners; the other worlds (`tasks.worlds`)
bring what the protocol asks for and a simulator of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tasks.errors import TaskError
from tasks.generators import Parameter
from tasks.naming import NamingRules
from tasks.pddl import TypedNames
from tasks.pddl_domain import PddlDomain, load_folder, load_pddlgym_domain, pddlgym_names
from tasks.task import Simulator, Task
from tasks.worlds import WORLDS, make_world, world_names


class Sizes(Protocol):
    """What a generator of tasks says of itself."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The sizes that a stream may set, each with its least value and its default range."""


class Domain(Protocol):
    """A domain with all that streams, rendering and actors need to know of it.

    Words that a text shows (predicates, actions, constants, own names, pools) hold no blanks.
    What a simulator lists as `objects` may grow in the course of an episode where a world is seen
    in part; new objects get the next names of their pool.
    """

    @property
    def name(self) -> str:
        """What `get_domain` takes."""

    @property
    def word(self) -> str:
        """What the small LM sees after `<domain>`."""

    @property
    def actions(self) -> Mapping[str, int]:
        """Each action that an agent can name, with the number of its arguments."""

    @property
    def predicates(self) -> Mapping[str, int]:
        """Each predicate (of states and goals) with the number of its arguments."""

    @property
    def static_predicates(self) -> frozenset[str]:
        """Predicates that no action can change."""

    @property
    def shown_predicates(self) -> frozenset[str]:
        """Predicates whose atoms a prompt shows even without static atoms."""

    @property
    def constants(self) -> TypedNames:
        """(name, type) of the objects that every task has; texts show them as they are called."""

    @property
    def naming_rules(self) -> NamingRules:
        """How objects are named in text, and which atoms it shows."""

    @property
    def generator(self) -> Sizes | None:
        """What `draw` takes; None where only files exist."""

    @property
    def train_files(self) -> tuple[Path, ...]:
        """Files of tasks that a stream may draw, in a fixed order."""

    @property
    def test_files(self) -> tuple[Path, ...]:
        """Files of tasks for probes, in a fixed order."""

    @property
    def simulator_name(self) -> str:
        """What runs the domain, for lists; `TaskError` says why nothing can."""

    def make_simulator(self) -> Simulator:
        """A simulator for the domain's tasks, to be used again for each of them."""

    def draw(self, size: Mapping[str, tuple[int, int]], seed: int) -> Task:
        """Draw a task from the generator; `size` holds (least, most) for parameters.

        The same size and seed give the same task on every machine.
        """

    def check_size(self, size: Mapping[str, tuple[int, int]]) -> Sizes:
        """The generator, if there is one and it takes these sizes; else `TaskError`."""

    def task_from_file(self, file: Path) -> Task:
        """The task of one of the files; `TaskError` if it cannot be read."""

    def task_from_origin(self, origin: str) -> Task:
        """The task again, from its `origin`; `TaskError` if that is none of this domain."""


def domain_names() -> tuple[str, ...]:
    """All names: PDDLGym's, those with a generator first, then the other worlds."""
    return (*pddlgym_names(), *world_names())


@lru_cache(maxsize=256)
def get_domain(name: str) -> Domain:
    """A domain by name or by folder.

    `TaskError` names the nearest domain if there is none of that name, file and line if a domain
    does not parse, and what to install or to set where a world's packages or data are missing.
    """
    if name in pddlgym_names():
        return load_pddlgym_domain(name)
    if name in world_names():
        return make_world(name)
    if Path(name).is_dir() or "/" in name:
        return load_folder(Path(name))
    nearest = difflib.get_close_matches(name.lower(), domain_names(), n=1, cutoff=0.0)
    raise TaskError(
        f"there is no domain '{name}': did you mean '{nearest[0]}'? "
        "(`nesypr tasks list` shows all; a folder with domain.pddl works as well)"
    )


def how_to_get_files(domain: Domain) -> str:
    """What to do where a domain has no problem files, as the end of a sentence."""
    if domain.generator is None:
        return "put problems as *.pddl beside its domain.pddl, or into its folder problems/"
    world = WORLDS.get(domain.name)
    if world is not None and world.data:
        return f"set ${world.data} to the folder that holds them, or use 'source: generator'"
    return "use 'source: generator'"


def get_pddl_domain(name: str) -> PddlDomain:
    """The same for what only a domain in PDDL has; `TaskError` if this is none."""
    domain = get_domain(name)
    if not isinstance(domain, PddlDomain):
        raise TaskError(f"domain '{name}' is not written in PDDL: symbolic planners cannot read it")
    return domain
