"""The reference simulator: PDDLGym itself, one problem at a time.

PDDLGym is left as it is; only at our edge it is spared work that changes nothing: one problem is
parsed and not a folder, and derived literals are computed only where a domain derives some.
As in PDDLGym's action spaces, an action that names an object twice does not exist.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import TaskError
from tasks.pddl import Problem, holds
from tasks.pddl_domain import PddlDomain
from tasks.simulators import NEEDS_PROLOG, why_not_pddlgym
from tasks.task import Action, Atom, Task

if TYPE_CHECKING:
    PDDLEnv: Any
    PDDLProblemParser: Any
    InvalidAction: Any
    pddlgym_spaces: Any
else:
    # gym prints that it is unmaintained, and both warn of syntax and of each other's versions.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from pddlgym import spaces as pddlgym_spaces
        from pddlgym.core import InvalidAction, PDDLEnv
        from pddlgym.parser import PDDLProblemParser


class PddlGymSimulator:
    """Runs tasks of one domain on PDDLGym.

    `TaskError` if PDDLGym cannot run the domain: outcomes by chance, or quantified preconditions
    where SWI-Prolog (`swipl`) is missing.
    """

    def __init__(self, domain: PddlDomain) -> None:
        reason = why_not_pddlgym(domain)
        if reason:
            raise TaskError(f"PDDLGym cannot run domain '{domain.name}': {reason}")
        self._domain = domain
        operators_as_actions = not domain.definition.action_predicates
        strips = not domain.definition.features & NEEDS_PROLOG
        self._instantiates = operators_as_actions and strips
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PDDLGym uses deprecated calls of re and gym
            self._env: Any = PDDLEnv(
                str(domain.file),
                "no folder: problems are set one by one",
                raise_error_on_invalid_action=True,
                operators_as_actions=operators_as_actions,
                dynamic_action_space=self._instantiates,
            )
        if not domain.definition.derived:
            self._env._handle_derived_literals = lambda state: state
        self._problem: Problem | None = None

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self._domain.name

    def reset(self, task: Task) -> None:
        """Let PDDLGym parse the task's problem and go to its initial state."""
        self._problem = self._domain.read_problem(task.problem, task.origin)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._env.problems = [_parse(self._env.domain, task)]
            self._env.fix_problem_index(0)
            self._env.reset()
        self._objects = {item.name: item for item in self._env.get_state().objects}
        self._instantiated = False
        self._candidates: tuple[Action, ...] | None = None
        self._atoms: frozenset[Atom] | None = None

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
        self._loaded()
        if self._atoms is None:
            self._atoms = frozenset(
                _words(literal)
                for literal in self._env.get_state().literals
                if literal.predicate.name != "="
            )
        return self._atoms

    def applicable_actions(self) -> tuple[Action, ...]:
        """The actions that `step` would accept now, sorted."""
        self._loaded()
        state = self._env.get_state()
        if self._instantiates:
            with contextlib.nullcontext() if self._instantiated else own_temporary_folder():
                literals = self._env.action_space.all_ground_literals(state)
            self._instantiated = True
            return tuple(sorted(_words(literal) for literal in literals))
        if self._candidates is None:
            self._candidates = tuple(sorted(self._all_actions()))
        with _without_warnings():
            return tuple(
                action
                for action in self._candidates
                if self._env._action_valid_test(state, self._literal(action))
            )

    def step(self, action: Action) -> bool:
        """Apply the action; False if it is not applicable (the state stays as it was)."""
        self._loaded()
        if not self._exists(action):
            return False
        try:
            with _without_warnings():
                self._env.step(self._literal(action))
        except InvalidAction:
            return False
        self._atoms = None
        return True

    def goal_conditions(self) -> tuple[int, int]:
        """(conditions met, conditions) of the goal in the current state."""
        atoms, goal = self.atoms, self.goal
        return sum(holds(condition, atoms) for condition in goal), len(goal)

    @property
    def solved(self) -> bool:
        """Whether PDDLGym says that the goal holds."""
        self._loaded()
        return bool(self._env._is_goal_reached(self._env.get_state()))

    def _loaded(self) -> Problem:
        if self._problem is None:
            raise TaskError("the simulator has no task yet: call reset first")
        return self._problem

    def _exists(self, action: Action) -> bool:
        """Whether the action's name, number of objects and objects' types are right."""
        arguments = action[1:]
        wanted = self._domain.definition.action_types.get(action[0])
        if wanted is None or len(wanted) != len(arguments):
            return False
        types = dict(self.objects)
        return len(set(arguments)) == len(arguments) and all(
            name in types and self._domain.definition.fits(types[name], kind)
            for name, kind in zip(arguments, wanted)
        )

    def _all_actions(self) -> list[Action]:
        fits = self._domain.definition.fits
        return [
            (name, *arguments)
            for name, wanted in self._domain.definition.action_types.items()
            for arguments in itertools.product(
                *([item for item, given in self.objects if fits(given, kind)] for kind in wanted)
            )
            if len(set(arguments)) == len(arguments)
        ]

    def _literal(self, action: Action) -> Any:
        predicate = self._env.domain.predicates[action[0]]
        return predicate(*(self._objects[name] for name in action[1:]))


def _words(literal: Any) -> Atom:
    return (literal.predicate.name, *(variable.name for variable in literal.variables))


def _parse(domain: Any, task: Task) -> Any:
    """PDDLGym's parser on a text; its constructor would read a file."""
    parser = PDDLProblemParser.__new__(PDDLProblemParser)
    parser.problem_fname = task.origin
    parser.domain_name = domain.domain_name
    parser.types = domain.types
    parser.predicates = domain.predicates
    parser.action_names = domain.actions
    parser.uses_typing = "default" not in domain.types
    parser.constants = domain.constants or []
    parser.problem = parser._purge_comments(task.problem.lower())
    try:
        parser._parse_problem()
    except (AssertionError, AttributeError, IndexError, KeyError, ValueError) as error:
        raise TaskError(f"PDDLGym cannot read the problem {task.origin}: {error!r}") from error
    return parser


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """PDDLGym's way to SWI-Prolog uses deprecated calls of random and leaves files unclosed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """PDDLGym leaves its temporary files behind and unclosed: give it a folder that goes away."""
    before = pddlgym_spaces.TMP_PDDL_DIR
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-", dir=before) as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)
        pddlgym_spaces.TMP_PDDL_DIR = str(Path(folder))
        try:
            yield
        finally:
            pddlgym_spaces.TMP_PDDL_DIR = before
