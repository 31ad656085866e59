"""Domains in PDDL: PDDLGym's own, by name, and a user's folder with `domain.pddl` and problems.

A folder of a user holds `domain.pddl` and problems as `*.pddl` beside it or in `problems/`, and
held-out ones in `test/`.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from tasks.digest import content_digest, visible_digest
from tasks.errors import TaskError
from tasks.generators import GENERATORS, Generator
from tasks.naming import NamingRules, general_rules
from tasks.pddl import (
    DomainDefinition,
    Operator,
    Problem,
    TypedNames,
    problem_text,
    read_domain,
    read_problem,
)
from tasks.standard_pddl import standard_domain
from tasks.task import Action, Simulator, Task

_UNREGISTERED = frozenset(
    {"dynamic_action_space_same_obj", "rearrangement-notyping"}
    | {f"searchandrescue_level{level}" for level in range(1, 8)}
)
"""Folders among PDDLGym's files that PDDLGym itself offers under no name."""

_PARTLY_READ = frozenset({"equalityblocks", "equalityblocks2", "quantifiedblocks3"})
"""Domains of PDDLGym with goals that cannot be read here (`or`, `exists`) in some files."""


@dataclass(frozen=True)
class PddlDomain:
    """A domain in PDDL with all that the rest needs to know of it.

    `name` is what `get_domain` takes (a name, or the absolute path of a folder); `word` is what
    the small LM sees; `text` is the file as it stands and `standard_text` the same for planners;
    `skipped` holds problem files that are left out, each with the reason.
    """

    name: str
    file: Path
    text: str
    definition: DomainDefinition
    generator: Generator | None
    train_files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...] = ()

    @property
    def word(self) -> str:
        """What the small LM sees after `<domain>`."""
        return self.name if self.name in pddlgym_names() else self.definition.name

    @cached_property
    def actions(self) -> Mapping[str, int]:
        """Each action that an agent can name, with the number of its arguments."""
        return self.definition.actions

    @cached_property
    def predicates(self) -> Mapping[str, int]:
        """Each predicate with the number of its arguments, without action predicates."""
        return {name: len(types) for name, types in self.definition.predicates.items()}

    @property
    def types(self) -> Mapping[str, str]:
        """Each type with its parent."""
        return self.definition.types

    @property
    def constants(self) -> TypedNames:
        """(name, type) of the objects that every problem has."""
        return self.definition.constants

    @property
    def fluent_predicates(self) -> frozenset[str]:
        """Predicates that an action can change (directly or through a rule)."""
        return self.definition.fluents

    @cached_property
    def static_predicates(self) -> frozenset[str]:
        """Predicates that no action can change."""
        return frozenset(self.predicates) - self.definition.fluents

    @cached_property
    def operators(self) -> Mapping[str, Operator]:
        """The operators by name; `.action_of(objects)` gives the action that applies one."""
        return {operator.name: operator for operator in self.definition.operators}

    @cached_property
    def standard_text(self) -> str:
        """The domain as standard PDDL, without action predicates."""
        return standard_domain(self.definition)

    @cached_property
    def naming_rules(self) -> NamingRules:
        """How objects are named in text, and which atoms it shows."""
        return self.generator.naming if self.generator else general_rules(self.definition)

    @cached_property
    def shown_predicates(self) -> frozenset[str]:
        """Predicates whose atoms a prompt shows even without static atoms."""
        rules = self.naming_rules
        return (self.fluent_predicates - rules.implied) | rules.shown

    @property
    def simulator_name(self) -> str:
        """What runs the domain by default, "mimir" or "pddlgym"; `TaskError` if nothing can."""
        from tasks.simulators import choose_simulator  # which knows of this class

        return choose_simulator(self)

    def make_simulator(self) -> Simulator:
        """The default simulator; `tasks.simulators.make_simulator` can make each."""
        from tasks.simulators import make_simulator  # which knows of this class

        return make_simulator(self)

    def action_of(self, operator: str, objects: Sequence[str]) -> Action:
        """The action that applies an operator (of a planner's plan) to objects."""
        if operator not in self.operators:
            raise TaskError(f"domain '{self.name}' has no operator '{operator}'")
        return self.operators[operator].action_of(objects)

    def read_problem(self, text: str, source: str) -> Problem:
        """Read a problem of this domain; `TaskError "SOURCE:LINE: ..."` if it is wrong."""
        return read_problem(text, source, self.definition)

    def problem_text(self, problem: Problem) -> str:
        """The problem as standard PDDL that PDDLGym, Mimir and planners read alike."""
        return problem_text(problem, self.definition)

    def task(self, problem: Problem, origin: str) -> Task:
        """The problem as a task, with its digests."""
        constants = frozenset(name for name, _ in self.constants)
        digest = content_digest(self.definition.name, problem, constants)
        labels = self.naming_rules.labels(problem.objects, problem.initial, constants)
        visible = visible_digest(self.word, problem, self.shown_predicates, labels)
        return Task(self.name, self.problem_text(problem), digest, origin, visible=visible)

    def problem_from_file(self, file: Path) -> Problem:
        """The problem of a file; `TaskError` if it cannot be read."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"cannot read the problem file {file}: {error}") from error
        return self.read_problem(text, str(file))

    def task_from_file(self, file: Path) -> Task:
        """The task of a problem file; `TaskError` if it cannot be read."""
        split = "test" if file in self.test_files else "train"
        origin = f"file:{self.name}:{split}/{self._path_in_split(file)}"
        return self.task(self.problem_from_file(file), origin)

    def _path_in_split(self, file: Path) -> str:
        """The file's name in origins; beside `domain.pddl` and in `problems/` can be twins."""
        in_problems = file.parent == self.file.parent / "problems"
        return f"problems/{file.name}" if in_problems else file.name

    @cached_property
    def _files_by_origin(self) -> Mapping[str, Path]:
        """Each problem file by its split and path, as origins have them."""
        splits = {"train": self.train_files, "test": self.test_files}
        return {
            f"{split}/{self._path_in_split(file)}": file
            for split, files in splits.items()
            for file in files
        }

    def draw(self, size: Mapping[str, tuple[int, int]], seed: int) -> Task:
        """Draw a task from the generator; `size` holds (least, most) for parameters.

        The same size and seed give the same task on every machine.
        """
        generator = self.check_size(size)
        sizes = random.Random(seed)
        values = {
            parameter.name: sizes.randint(*size.get(parameter.name, parameter.default))
            for parameter in generator.parameters
        }
        drawn = ",".join(f"{name}={value}" for name, value in values.items())
        rng = random.Random(f"{self.name}:{drawn}:{seed}")  # the sizes drawn fix the rest
        return self.task(generator.draw(rng, values), f"generator:{self.name}:{drawn}:{seed}")

    def task_from_origin(self, origin: str) -> Task:
        """The task again, from its `origin`; `TaskError` if that is none of this domain."""
        kind, _, rest = origin.partition(":")
        if kind not in ("generator", "file") or not rest.startswith(f"{self.name}:"):
            raise TaskError(f"'{origin}' is not the origin of a task of domain '{self.name}'")
        detail = rest.removeprefix(f"{self.name}:")
        if kind == "file":
            file = self._files_by_origin.get(detail)
            if file is None:
                raise TaskError(f"domain '{self.name}' has no problem file '{detail}' any more")
            return self.task_from_file(file)
        drawn, _, seed = detail.rpartition(":")
        pairs = (pair.split("=") for pair in drawn.split(","))
        return self.draw({name: (int(value), int(value)) for name, value in pairs}, int(seed))

    def check_size(self, size: Mapping[str, tuple[int, int]]) -> Generator:
        """The generator, if there is one and it takes these sizes; else `TaskError`."""
        if self.generator is None:
            raise TaskError(
                f"domain '{self.name}' has no generator: use 'source: files' "
                f"(generators exist for {', '.join(GENERATORS)})"
            )
        known = {parameter.name: parameter for parameter in self.generator.parameters}
        for name, (least, most) in size.items():
            if name not in known:
                raise TaskError(
                    f"the generator of '{self.name}' has no size '{name}': "
                    f"it takes {', '.join(known)}"
                )
            if least > most or least < known[name].least:
                raise TaskError(
                    f"size '{name}' of domain '{self.name}' cannot be [{least}, {most}]: "
                    f"it must be [least, most] with {known[name].least} ≤ least ≤ most"
                )
        return self.generator


@lru_cache(maxsize=1)
def pddlgym_folder() -> Path:
    """Where PDDLGym keeps its PDDL files (without importing it)."""
    found = importlib.util.find_spec("pddlgym")
    if found is None or not found.submodule_search_locations:
        raise TaskError("pddlgym is not installed: install the requirements of this project")
    return Path(next(iter(found.submodule_search_locations))) / "pddl"


@lru_cache(maxsize=1)
def pddlgym_names() -> tuple[str, ...]:
    """The names of PDDLGym's domains; those with a generator first."""
    folder = pddlgym_folder()
    names = {
        file.stem
        for file in folder.glob("*.pddl")
        if (folder / file.stem).is_dir() and file.stem not in _UNREGISTERED
    }
    return (*GENERATORS, *sorted(names - set(GENERATORS)))


def load_pddlgym_domain(name: str) -> PddlDomain:
    """One of `pddlgym_names`; `TaskError` with file and line if it does not parse.

    Problem files of PDDLGym that cannot be read are left out; in a user's folder they are errors.
    """
    base = pddlgym_folder()
    train = tuple(sorted((base / name).glob("*.pddl")))
    test = tuple(sorted((base / f"{name}_test").glob("*.pddl")))
    domain = _load(name, base / f"{name}.pddl", GENERATORS.get(name), train, test)
    return _without_unreadable(domain) if name in _PARTLY_READ else domain


def _without_unreadable(domain: PddlDomain) -> PddlDomain:
    skipped: dict[Path, str] = {}
    for file in (*domain.train_files, *domain.test_files):
        try:
            domain.problem_from_file(file)
        except TaskError as error:
            skipped[file] = str(error)
    train = tuple(file for file in domain.train_files if file not in skipped)
    test = tuple(file for file in domain.test_files if file not in skipped)
    return replace(domain, train_files=train, test_files=test, skipped=tuple(skipped.items()))


def load_folder(folder: Path) -> PddlDomain:
    """The domain of a user's folder; `TaskError` if it holds none or does not parse."""
    file = folder / "domain.pddl"
    if not file.is_file():
        raise TaskError(f"there is no {file}: a folder of tasks needs domain.pddl and problems")
    beside = [path for path in folder.glob("*.pddl") if path != file]
    train = tuple(sorted([*beside, *(folder / "problems").glob("*.pddl")]))
    test = tuple(sorted((folder / "test").glob("*.pddl")))
    return _load(str(folder.resolve()), file, None, train, test)


def _load(
    name: str,
    file: Path,
    generator: Generator | None,
    train: tuple[Path, ...],
    test: tuple[Path, ...],
) -> PddlDomain:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"cannot read the domain file {file}: {error}") from error
    try:
        definition = read_domain(text, str(file))
    except TaskError as error:
        if "(probabilistic" in text:  # mending the file would not help
            raise TaskError(f"{error}; besides, its actions have outcomes by chance") from error
        raise
    return PddlDomain(name, file, text, definition, generator, train, test)
