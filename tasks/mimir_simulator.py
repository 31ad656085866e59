"""The fast simulator: Mimir (pymimir) with PDDLGym's transitions, goals and actions.

Mimir reads the domain without PDDLGym's action predicates; ground operators are mapped back to
the actions that PDDLGym names. As in PDDLGym's action spaces, an action that names an object
twice does not exist (`move rooma rooma`).
"""

from __future__ import annotations

from typing import Any

from pymimir.advanced.formalism import Parser, ParserOptions
from pymimir.advanced.search import (
    LiftedKPKCOptions,
    LiftedOptions,
    SearchContext,
    SearchContextOptions,
    SymmetryPruning,
)

from tasks.errors import TaskError
from tasks.pddl import Problem, holds
from tasks.pddl_domain import PddlDomain
from tasks.silence import silent_stdout
from tasks.task import Action, Atom, Task


class MimirSimulator:
    """Runs tasks of one domain on Mimir; `reset` parses a problem (0.5 ms for small ones).

    `TaskError` if Mimir does not accept the domain or a problem.
    """

    def __init__(self, domain: PddlDomain) -> None:
        self._domain = domain
        try:
            with silent_stdout():
                self._parser: Any = Parser(domain.standard_text, "", ParserOptions())
        except RuntimeError as error:
            raise TaskError(f"Mimir cannot read domain '{domain.name}': {error}") from error
        self._problem: Problem | None = None
        self._atoms: frozenset[Atom] | None = None
        self._ground: dict[Action, Any] | None = None

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self._domain.name

    def reset(self, task: Task) -> None:
        """Load the task's problem and go to its initial state."""
        problem = self._domain.read_problem(task.problem, task.origin)
        text = self._domain.problem_text(problem)
        try:
            advanced: Any = self._parser.parse_problem(text, "", ParserOptions())
            options = SearchContextOptions(LiftedOptions(LiftedKPKCOptions(SymmetryPruning.OFF)))
            context: Any = SearchContext.create(advanced, options)
            state, _ = context.get_state_repository().get_or_create_initial_state()
        except RuntimeError as error:
            raise TaskError(f"Mimir cannot read the problem {task.origin}: {error}") from error
        self._problem = problem
        self._static = frozenset(
            atom for atom in problem.initial if atom[0] in self._domain.static_predicates
        )
        self._context = context
        self._states: Any = context.get_state_repository()
        self._generator: Any = context.get_applicable_action_generator()
        self._repositories: Any = advanced.get_repositories()
        self._fluent_atoms: dict[int, Atom] = {}
        self._derived_atoms: dict[int, Atom] = {}
        self._actions: dict[int, Action | None] = {}
        self._enter(state)

    @property
    def objects(self) -> tuple[tuple[str, str], ...]:
        """(name, type) of each object, in the problem's order, then constants."""
        return self._loaded().objects

    @property
    def goal(self) -> tuple[Atom, ...]:
        """The goal's conditions; a negated one starts with "not"."""
        return self._loaded().goal

    @property
    def atoms(self) -> frozenset[Atom]:
        """The current state, static atoms included."""
        if self._atoms is None:
            names = self._fluent_atoms
            found: list[Atom] = []
            for index in self._state.get_fluent_atoms():
                atom = names.get(index)
                if atom is None:
                    ground = self._repositories.get_fluent_ground_atom(index)
                    atom = names[index] = _atom(ground)
                found.append(atom)
            if self._domain.definition.derived:
                found += self._derived()
            self._atoms = self._static.union(found)
        return self._atoms

    def applicable_actions(self) -> tuple[Action, ...]:
        """The actions that `step` would accept now, sorted."""
        return tuple(sorted(self._applicable()))

    def step(self, action: Action) -> bool:
        """Apply the action; False if it is not applicable (the state stays as it was)."""
        ground = self._applicable().get(action)
        if ground is None:
            return False
        state, _ = self._states.get_or_create_successor_state(self._state, ground, 0.0)
        self._enter(state)
        return True

    def goal_conditions(self) -> tuple[int, int]:
        """(conditions met, conditions) of the goal in the current state."""
        atoms, goal = self.atoms, self.goal
        return sum(holds(condition, atoms) for condition in goal), len(goal)

    @property
    def solved(self) -> bool:
        """Whether the goal holds."""
        atoms = self.atoms
        return all(holds(condition, atoms) for condition in self.goal)

    def _loaded(self) -> Problem:
        if self._problem is None:
            raise TaskError("the simulator has no task yet: call reset first")
        return self._problem

    def _enter(self, state: Any) -> None:
        self._state = state
        self._atoms = None
        self._ground = None

    def _applicable(self) -> dict[Action, Any]:
        """The applicable actions with Mimir's ground operators."""
        self._loaded()
        if self._ground is None:
            self._ground = {}
            for ground in self._generator.generate_applicable_actions(self._state):
                index = ground.get_index()
                if index not in self._actions:
                    self._actions[index] = self._action(ground)
                action = self._actions[index]
                if action is not None:
                    self._ground.setdefault(action, ground)
        return self._ground

    def _action(self, ground: Any) -> Action | None:
        """PDDLGym's action, or None if it names an object twice."""
        objects = [item.get_name() for item in ground.get_objects()]
        action = self._domain.action_of(ground.get_action().get_name(), objects)
        return action if len(set(action[1:])) == len(action) - 1 else None

    def _derived(self) -> list[Atom]:
        found = []
        for index in self._state.get_derived_atoms():
            if index not in self._derived_atoms:
                ground = self._repositories.get_derived_ground_atom(index)
                self._derived_atoms[index] = _atom(ground)
            atom = self._derived_atoms[index]
            if atom[0] in self._domain.predicates:
                found.append(atom)
        return found


def _atom(ground: Any) -> Atom:
    """Mimir's ground atom as ours."""
    return (
        ground.get_predicate().get_name(),
        *(item.get_name() for item in ground.get_objects()),
    )
