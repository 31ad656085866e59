"""Reading PDDL domains and problems as PDDLGym ships them.

PDDLGym's files differ from standard PDDL in one way: the actions that an agent names can be
predicates listed in a comment, `; (:actions pickup stack)`, that stand in the preconditions of
operators and in the problems' `:init`. `read_domain` keeps them apart from the true predicates,
and problems are read without them. Sections may stand in any order. Every error is a
`TaskError "FILE:LINE: ..."`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.expressions import Form, Item, Place, Word, read_expression
from tasks.task import Action, Atom

ROOT_TYPE = "object"
_ACTIONS_COMMENT = re.compile(r"\(:actions\s+([^()]*)\)", re.IGNORECASE)
_CONNECTIVES = ("and", "or", "not", "imply")
_QUANTIFIERS = ("forall", "exists")

TypedNames = tuple[tuple[str, str], ...]
"""(name, type) pairs in the order of the text; alternatives of a type are joined by "|"."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the domain and the action that an agent names to apply it.

    `action` is the PDDLGym action and `arguments` says which parameters it names, e.g. operator
    `pick-up(?x ?robot)` is action `pickup` with arguments (0,).
    """

    name: str
    parameters: TypedNames
    precondition: Form | None
    effect: Form | None
    action: str
    arguments: tuple[int, ...]

    def action_of(self, objects: Sequence[str]) -> Action:
        """The action that applies this operator to these objects."""
        return (self.action, *(objects[i] for i in self.arguments))


@dataclass(frozen=True, slots=True)
class DomainDefinition:
    """What a domain file says."""

    name: str
    types: Mapping[str, str]  # type → its parent
    constants: TypedNames
    predicates: Mapping[str, TypedNames]  # without action predicates
    action_predicates: Mapping[str, TypedNames]  # empty where operators are the actions
    operators: tuple[Operator, ...]
    derived: tuple[tuple[Form, Form], ...]  # (head, condition)
    fluents: frozenset[str]  # predicates that some operator or rule can change
    typed: bool
    features: frozenset[str] = field(default=frozenset())  # e.g. "forall", "probabilistic"

    @property
    def actions(self) -> dict[str, int]:
        """Each action that an agent can name, with the number of its arguments."""
        return {operator.action: len(operator.arguments) for operator in self.operators}

    @property
    def action_types(self) -> dict[str, tuple[str, ...]]:
        """Each action that an agent can name, with the types of its arguments."""
        return {
            operator.action: tuple(
                kind
                for _, kind in self.action_predicates.get(
                    operator.action, tuple(operator.parameters[i] for i in operator.arguments)
                )
            )
            for operator in self.operators
        }

    def ancestors(self, type_name: str) -> list[str]:
        """The type and all its parents up to `object`."""
        chain = [type_name]
        while chain[-1] in self.types and self.types[chain[-1]] not in chain:
            chain.append(self.types[chain[-1]])
        if chain[-1] != ROOT_TYPE:
            chain.append(ROOT_TYPE)
        return chain

    def fits(self, type_name: str, wanted: str) -> bool:
        """Whether an object of the first type can stand where the second is wanted."""
        alternatives = wanted.split("|")
        return any(name in alternatives for name in self.ancestors(type_name))


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: objects (constants last), initial atoms (no actions, no "="), goal.

    A negated goal condition starts with "not".
    """

    name: str
    objects: TypedNames
    initial: frozenset[Atom]
    goal: tuple[Atom, ...]


def holds(condition: Atom, atoms: frozenset[Atom]) -> bool:
    """Whether a goal condition (an atom, or "not" and an atom) holds in a state."""
    if condition[0] == "not":
        return condition[1:] not in atoms
    return condition in atoms


def read_domain(text: str, source: str) -> DomainDefinition:
    """Read a domain; `source` names it in errors."""
    place, whole = read_expression(text, source)
    return _DomainReader(place, whole, text).read()


def read_problem(text: str, source: str, domain: DomainDefinition) -> Problem:
    """Read a problem of the domain; `source` names it in errors."""
    place, whole = read_expression(text, source)
    name, sections = _sections(place, whole, "problem")
    objects: TypedNames = ()
    initial: list[Form] = []
    goal: Form | None = None
    for section in sections:
        if section.head == ":domain":
            given = str(section.rest[0]) if section.rest else ""
            if given != domain.name:
                place.fail(section, f"the problem is for domain '{given}', not for '{domain.name}'")
        elif section.head == ":objects":
            objects = typed_names(place, section.rest)
        elif section.head == ":init":
            initial = place.forms(section.rest, "atom")
        elif section.head == ":goal":
            if len(section.rest) != 1 or not isinstance(section.rest[0], Form):
                place.fail(section, "a goal must be one bracketed condition")
            goal = section.rest[0]
    if goal is None:
        place.fail(whole, "the problem has no (:goal ...)")
    for object_name, type_name in objects:
        for alternative in type_name.split("|"):
            if alternative != ROOT_TYPE and alternative not in domain.types:
                place.fail(whole, f"object '{object_name}' has unknown type '{alternative}'")
    own_names = {object_name for object_name, _ in objects}
    if len(own_names) != len(objects):
        place.fail(whole, "an object is declared twice in (:objects ...)")
    objects += tuple(pair for pair in domain.constants if pair[0] not in own_names)
    types = dict(objects)
    atoms = {
        _ground_atom(place, form, domain, types)
        for form in initial
        if form.head not in domain.action_predicates and form.head not in ("=", "not")
    }
    conditions = _goal_conditions(place, goal, domain, types)
    return Problem(name, objects, frozenset(atoms), tuple(conditions))


def problem_text(problem: Problem, domain: DomainDefinition) -> str:
    """The problem as standard PDDL, with sorted atoms and without constants and action atoms."""
    constants = {name for name, _ in domain.constants}
    objects = [
        f"{name} - {_type_text(type_name)}" if domain.typed else name
        for name, type_name in problem.objects
        if name not in constants
    ]
    initial = [f"({' '.join(atom)})" for atom in sorted(problem.initial)]
    goal = [
        f"(not ({' '.join(condition[1:])}))"
        if condition[0] == "not"
        else f"({' '.join(condition)})"
        for condition in problem.goal
    ]
    name = problem.name if problem.name[:1].isalpha() else f"p{problem.name}"
    return (
        f"(define (problem {name}) (:domain {domain.name})\n"
        f"(:objects {' '.join(objects)})\n"
        f"(:init {' '.join(initial)})\n"
        f"(:goal (and {' '.join(goal)})))\n"
    )


def typed_names(place: Place, items: list[Item]) -> TypedNames:
    """Read `a b - block c - (either robot arm) d`."""
    result: list[tuple[str, str]] = []
    waiting: list[Word] = []
    position = 0
    while position < len(items):
        item = items[position]
        if isinstance(item, Form):
            place.fail(item, f"expected a name but found '{item}'")
        if item[0] == "-" and len(item) > 1:  # "-ball", as PDDLGym's easygripper has it: no name
            result += [(str(name), str(item[1:])) for name in waiting]
            waiting = []
            position += 1
        elif item == "-":
            if position + 1 == len(items):
                place.fail(item, "a type is missing after '-'")
            given = items[position + 1]
            if isinstance(given, Form):
                if given.head != "either" or len(given) < 2:
                    place.fail(given, f"expected a type or (either ...) but found '{given}'")
                type_name = "|".join(place.words(given.rest, "a type"))
            else:
                type_name = str(given)
            result += [(str(name), type_name) for name in waiting]
            waiting = []
            position += 2
        else:
            waiting.append(item)
            position += 1
    return (*result, *((str(name), ROOT_TYPE) for name in waiting))


def _sections(place: Place, whole: Form, kind: str) -> tuple[str, list[Form]]:
    if whole.head != "define" or len(whole) < 2:
        place.fail(whole, f"expected '(define ({kind} NAME) ...'")
    title = whole.items[1]
    if not isinstance(title, Form) or title.head != kind or len(title) != 2:
        place.fail(title, f"expected '({kind} NAME)' but found '{title}'")
    return str(title.items[1]), place.forms(whole.items[2:], "section")


def _type_text(type_name: str) -> str:
    return f"(either {type_name.replace('|', ' ')})" if "|" in type_name else type_name


def _ground_atom(
    place: Place, form: Form, domain: DomainDefinition, types: Mapping[str, str]
) -> Atom:
    parameters = domain.predicates.get(form.head)
    if parameters is None:
        place.fail(form, f"'{form.head}' is not a predicate of domain '{domain.name}'")
    arguments = place.words(form.rest, "an object")
    if len(arguments) != len(parameters):
        place.fail(
            form, f"'{form.head}' takes {len(parameters)} arguments but got {len(arguments)}"
        )
    for argument, (_, wanted) in zip(arguments, parameters):
        given = types.get(argument)
        if given is None:
            place.fail(argument, f"'{argument}' is not an object of the problem")
        if not domain.fits(given, wanted):
            place.fail(
                argument,
                f"'{argument}' has type '{given}' but '{form.head}' takes '{wanted}' here",
            )
    return (str(form.head), *map(str, arguments))


def _goal_conditions(
    place: Place, form: Form, domain: DomainDefinition, types: Mapping[str, str]
) -> list[Atom]:
    if form.head == "and":
        conditions: list[Atom] = []
        for part in place.forms(form.rest, "condition"):
            conditions += _goal_conditions(place, part, domain, types)
        return conditions
    if form.head == "not" and len(form) == 2 and isinstance(form.items[1], Form):
        return [("not", *_ground_atom(place, form.items[1], domain, types))]
    if form.head == "forall" and len(form) == 3:
        bound, body = place.forms(form.rest, "part of a quantifier")
        conditions = []
        for chosen in _instances(typed_names(place, bound.items), domain, types):
            conditions += _goal_conditions(place, _replaced(body, chosen), domain, types)
        return conditions
    if form.head in (*_QUANTIFIERS, "or", "imply"):
        place.fail(
            form, f"goals with '{form.head}' are not supported: state it as a conjunction of atoms"
        )
    return [_ground_atom(place, form, domain, types)]


def _instances(
    variables: TypedNames, domain: DomainDefinition, types: Mapping[str, str]
) -> list[dict[str, str]]:
    """Each way to put objects in the places of variables."""
    fitting = [
        [name for name, kind in types.items() if domain.fits(kind, wanted)]
        for _, wanted in variables
    ]
    names = [name for name, _ in variables]
    return [dict(zip(names, chosen)) for chosen in itertools.product(*fitting)]


def _replaced(form: Form, chosen: Mapping[str, str]) -> Form:
    """The form with objects in the places of variables."""
    items: list[Item] = []
    for item in form:
        if isinstance(item, Form):
            items.append(_replaced(item, chosen))
        else:
            word = Word(chosen.get(item, item))
            word.offset = item.offset
            items.append(word)
    return Form(items, form.offset)


class _DomainReader:
    """Collects a domain's sections, then checks the operators against the predicates."""

    def __init__(self, place: Place, whole: Form, text: str) -> None:
        self.place = place
        self.whole = whole
        self.name, self.sections = _sections(place, whole, "domain")
        comment = _ACTIONS_COMMENT.search(text)
        self.action_names = set(comment.group(1).lower().split()) if comment else set()
        self.types: dict[str, str] = {}
        self.constants: TypedNames = ()
        self.predicates: dict[str, TypedNames] = {}
        self.features: set[str] = set()
        self.fluents: set[str] = set()

    def read(self) -> DomainDefinition:
        operators: list[Form] = []
        derived: list[tuple[Form, Form]] = []
        typed = False
        for section in self.sections:
            if section.head == ":types":
                typed = True
                self.types = dict(typed_names(self.place, section.rest))
            elif section.head == ":constants":
                self.constants = typed_names(self.place, section.rest)
            elif section.head == ":predicates":
                for form in self.place.forms(section.rest, "predicate"):
                    self.predicates[form.head] = typed_names(self.place, form.rest)
            elif section.head == ":derived":
                forms = self.place.forms(section.rest, "condition")
                if len(forms) != 2:
                    self.place.fail(section, "a derived predicate needs a head and a condition")
                derived.append((forms[0], forms[1]))
            elif section.head == ":action":
                operators.append(section)
            elif section.head not in (":requirements", ":functions", ":actions"):
                self.place.fail(section, f"unknown section '{section.head}'")
        if not operators:
            self.place.fail(self.whole, "the domain has no (:action ...)")
        self._check_types()
        for head, condition in derived:
            self.features.add("derived")
            self.fluents.add(head.head)
            self._walk(condition, typed_names(self.place, head.rest), effect=False)
        read = tuple(self._operator(form) for form in operators)
        predicates = {k: v for k, v in self.predicates.items() if k not in self.action_names}
        actions = {k: v for k, v in self.predicates.items() if k in self.action_names}
        return DomainDefinition(
            self.name,
            self.types,
            self.constants,
            predicates,
            actions,
            read,
            tuple(derived),
            frozenset(self.fluents),
            typed,
            frozenset(self.features),
        )

    def _check_types(self) -> None:
        known = {*self.types, *self.types.values(), ROOT_TYPE}
        for parent in tuple(self.types.values()):
            for alternative in parent.split("|"):
                if alternative != ROOT_TYPE:
                    self.types.setdefault(alternative, ROOT_TYPE)
        pairs = [pair for names in self.predicates.values() for pair in names]
        for name, type_name in (*pairs, *self.constants):
            for alternative in type_name.split("|"):
                if alternative not in known:
                    self.place.fail(self.whole, f"'{name}' has unknown type '{alternative}'")
        for action in sorted(self.action_names - set(self.predicates)):
            self.place.fail(self.whole, f"action '{action}' of (:actions ...) is not a predicate")

    def _operator(self, form: Form) -> Operator:
        if len(form) < 2 or not isinstance(form.items[1], Word):
            self.place.fail(form, "an (:action ...) needs a name")
        name = str(form.items[1])
        parts: dict[str, Form] = {}
        items = form.items[2:]
        if len(items) % 2:
            self.place.fail(form, f"operator '{name}' needs pairs of :keyword and bracketed value")
        for keyword, value in zip(items[::2], items[1::2]):
            if not isinstance(keyword, Word) or not isinstance(value, Form):
                self.place.fail(keyword, f"operator '{name}' is malformed at '{keyword}'")
            parts[keyword] = value
        parameters_form = parts.get(":parameters")
        parameters = typed_names(self.place, parameters_form.items) if parameters_form else ()
        precondition, effect = parts.get(":precondition"), parts.get(":effect")
        if precondition is not None:
            self._walk(precondition, parameters, effect=False)
        if effect is not None:
            self._walk(effect, parameters, effect=True)
        if not self.action_names:
            return Operator(
                name, parameters, precondition, effect, name, tuple(range(len(parameters)))
            )
        conditions = _conjuncts(precondition)
        chosen = [c for c in conditions if c.head in self.action_names]
        if len(chosen) != 1:
            self.place.fail(
                form,
                f"operator '{name}' must have exactly one action of (:actions ...) among its "
                f"preconditions but has {len(chosen)}",
            )
        variables = [variable for variable, _ in parameters]
        words = self.place.words(chosen[0].rest, "a variable")
        for word in words:
            if word not in variables:
                self.place.fail(word, f"an action's arguments must be parameters, not '{word}'")
        arguments = tuple(variables.index(word) for word in words)
        return Operator(name, parameters, precondition, effect, chosen[0].head, arguments)

    def _walk(self, form: Form, variables: TypedNames, effect: bool) -> None:
        """Check names and numbers of arguments; note fluents and features."""
        head = form.head
        if len(form) == 0:
            return
        if head in _CONNECTIVES:
            if head in ("or", "imply") or (head == "not" and not effect):
                self.features.add(head)
            for part in self.place.forms(form.rest, "condition"):
                self._walk(part, variables, effect)
        elif head in _QUANTIFIERS and len(form) == 3:
            bound, body = self.place.forms(form.rest, "part of a quantifier")
            self.features.add(f"{head} effect" if effect else head)
            self._walk(body, variables + typed_names(self.place, bound.items), effect)
        elif head == "when" and effect and len(form) == 3:
            condition, body = self.place.forms(form.rest, "part of 'when'")
            self.features.add("when")
            self._walk(condition, variables, effect=False)
            self._walk(body, variables, effect=True)
        elif head == "probabilistic" and effect:
            self.features.add("probabilistic")
            for outcome in form.rest:
                if isinstance(outcome, Form):
                    self._walk(outcome, variables, effect=True)
        elif head in ("increase", "decrease", "assign"):
            self.features.add("numeric")
        elif head == "=":
            self.features.add("=")
        else:
            self._check_atom(form, variables)
            if effect:
                self.fluents.add(head)

    def _check_atom(self, form: Form, variables: TypedNames) -> None:
        parameters = self.predicates.get(form.head)
        if parameters is None:
            self.place.fail(form, f"'{form.head}' is not a predicate of domain '{self.name}'")
        arguments = self.place.words(form.rest, "a variable or constant")
        if len(arguments) != len(parameters):
            self.place.fail(
                form, f"'{form.head}' takes {len(parameters)} arguments but got {len(arguments)}"
            )
        known = {name for name, _ in (*variables, *self.constants)}
        for argument in arguments:
            if argument not in known:
                self.place.fail(argument, f"'{argument}' is neither a parameter nor a constant")


def _conjuncts(form: Form | None) -> list[Form]:
    if form is None:
        return []
    if form.head == "and":
        return [part for part in form.rest if isinstance(part, Form)]
    return [form]
