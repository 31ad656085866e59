"""The PDDL of an ALFWorld game, read as Fast Downward's translator reads it (which textworld uses).

Conditions become disjunctions of conjunctions of literals: `and`, `or`, `not`, `imply` and `exists`
are understood, `forall` is refused. Words are lower case. A type that nobody declared has no
members: alfred.pddl writes `(exists (?l - location, ...` and so means a type "location,", which is
why a thing can be examined only while it is held. Action costs do not matter for playing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from tasks.expressions import Form, Item, Place, Word, read_expression
from tasks.task import Atom

ROOT_TYPE = "object"
_MOST_CONJUNCTIONS = 256

TypedNames = tuple[tuple[str, str], ...]
"""(name, type) pairs in the order of the text."""


@dataclass(frozen=True, slots=True)
class Literal:
    """An atom or its negation; arguments that start with "?" are variables.

    The predicate "=" says that its two arguments are the same thing.
    """

    predicate: str
    arguments: tuple[str, ...]
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Literals that must hold together, and the variables that they bring along themselves."""

    variables: TypedNames = ()
    literals: tuple[Literal, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """A literal that an action makes true, where one of the conditions holds."""

    literal: Literal
    conditions: tuple[Conjunction, ...] = (Conjunction(),)


@dataclass(frozen=True, slots=True)
class Schema:
    """An action schema; one of `variants` must hold for it to apply."""

    name: str
    parameters: TypedNames
    variants: tuple[Conjunction, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class GameDomain:
    """What the domain says; `types` maps a type to its parent ("object" has none)."""

    types: Mapping[str, str]
    arities: Mapping[str, int]
    schemas: tuple[Schema, ...]
    fluents: frozenset[str]

    def supertypes(self, name: str) -> list[str]:
        """The type itself and all above it."""
        chain = [name]
        while (parent := self.types.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain


@dataclass(frozen=True, slots=True)
class GameProblem:
    """A game's things (name → type), its initial atoms, and its goal: one of these must hold."""

    objects: Mapping[str, str]
    initial: frozenset[Atom]
    goal: tuple[Conjunction, ...]


@lru_cache(maxsize=8)
def read_game_domain(text: str, source: str) -> GameDomain:
    """Read a domain; `TaskError "SOURCE:LINE: ..."` where it cannot be played."""
    place, whole = read_expression(text, source)
    types: dict[str, str] = {}
    arities: dict[str, int] = {}
    schemas: list[Schema] = []
    for section in _sections(place, whole):
        if section.head == ":types":
            types.update(
                (name, parent)
                for name, parent in _typed_names(place, section.rest)
                if name != ROOT_TYPE
            )
        elif section.head == ":predicates":
            for form in place.forms(section.rest, "predicate"):
                arities[form.head] = len(_typed_names(place, form.rest))
        elif section.head == ":action":
            schemas.append(_Reader(place, arities).schema(section))
        elif section.head in (":derived", ":constants"):
            place.fail(section, f"'{section.head}' cannot be played; ALFWorld's domain has none")
    fluents = frozenset(effect.literal.predicate for schema in schemas for effect in schema.effects)
    return GameDomain(types, arities, tuple(schemas), fluents)


def read_game_problem(text: str, source: str, domain: GameDomain) -> GameProblem:
    """Read a problem of the domain; `TaskError "SOURCE:LINE: ..."` where it cannot be played."""
    place, whole = read_expression(text, source)
    objects: dict[str, str] = {}
    initial: set[Atom] = set()
    goal: tuple[Conjunction, ...] | None = None
    for section in _sections(place, whole):
        if section.head == ":objects":
            for name, kind in _typed_names(place, section.rest):
                if name in objects:
                    place.fail(section, f"the object '{name}' is declared twice")
                if kind != ROOT_TYPE and kind not in domain.types:
                    place.fail(section, f"the object '{name}' has the unknown type '{kind}'")
                objects[name] = kind
        elif section.head == ":init":
            for form in place.forms(section.rest, "atom"):
                if form.head != "=":
                    arguments = place.words(form.rest, "an object")
                    if domain.arities.get(form.head) != len(arguments):
                        place.fail(form, f"'{form}' fits no predicate of the domain")
                    initial.add((str(form.head), *map(str, arguments)))
        elif section.head == ":goal":
            if len(section) != 2:
                place.fail(section, "a goal must be one bracketed condition")
            goal = _Reader(place, domain.arities).condition(section.items[1])
    if goal is None:
        place.fail(whole, "the problem has no (:goal ...)")
    for atom in initial:
        for name in atom[1:]:
            if name not in objects:
                place.fail(whole, f"the initial atom {atom} names the unknown object '{name}'")
    return GameProblem(objects, frozenset(initial), goal)


def _sections(place: Place, whole: Form) -> list[Form]:
    if whole.head != "define":
        place.fail(whole, "expected '(define ...'")
    return place.forms(whole.rest, "section")


def _typed_names(place: Place, items: list[Item]) -> TypedNames:
    words = place.words(items, "a name")
    names: list[tuple[str, str]] = []
    waiting: list[Word] = []
    position = 0
    while position < len(words):
        if words[position] == "-":
            if position + 1 == len(words):
                place.fail(words[position], "'-' without a type after it")
            names.extend((str(name), str(words[position + 1])) for name in waiting)
            waiting = []
            position += 2
        else:
            waiting.append(words[position])
            position += 1
    names.extend((str(name), ROOT_TYPE) for name in waiting)
    return tuple(names)


class _Reader:
    """Reads conditions and effects; variables bound twice get names of their own."""

    def __init__(self, place: Place, arities: Mapping[str, int]) -> None:
        self.place = place
        self.arities = arities
        self.fresh = 0

    def schema(self, section: Form) -> Schema:
        name = str(self.place.words(section.items[1:2], "the action's name")[0])
        parts = {str(key): value for key, value in zip(section.items[2::2], section.items[3::2])}
        given = parts.get(":parameters")
        parameters = _typed_names(self.place, given.items) if isinstance(given, Form) else ()
        effects: list[Effect] = []
        if ":effect" in parts:
            self._effects(parts[":effect"], (Conjunction(),), effects)
        variants = (
            self.condition(parts[":precondition"]) if ":precondition" in parts else (Conjunction(),)
        )
        return Schema(name, parameters, variants, tuple(effects))

    def condition(self, item: Item) -> tuple[Conjunction, ...]:
        return tuple(self._conjunctions(item, {}, positive=True))

    def _conjunctions(
        self, item: Item, renamed: Mapping[str, str], positive: bool
    ) -> list[Conjunction]:
        if not isinstance(item, Form):
            self.place.fail(item, f"expected a bracketed condition but found '{item}'")
        if len(item) == 0:
            return [Conjunction()] if positive else []
        head = item.head
        if head == "not":
            self._expect(item, 1)
            return self._conjunctions(item.items[1], renamed, not positive)
        if head == "imply":
            self._expect(item, 2)
            before = self._conjunctions(item.items[1], renamed, not positive)
            after = self._conjunctions(item.items[2], renamed, positive)
            return before + after if positive else self._both(item, [before, after])
        if head in ("and", "or"):
            parts = [self._conjunctions(part, renamed, positive) for part in item.rest]
            if (head == "and") == positive:
                return self._both(item, parts)
            return [conjunction for part in parts for conjunction in part]
        if head in ("exists", "forall"):
            if (head == "exists") != positive:
                self.place.fail(item, "a condition over all things ('forall') cannot be played")
            return self._exists(item, renamed)
        arguments = self.place.words(item.rest, "an argument")
        if head != "=" and self.arities.get(head) != len(arguments):
            self.place.fail(item, f"'{item}' fits no predicate of the domain")
        named = tuple(renamed.get(str(argument), str(argument)) for argument in arguments)
        return [Conjunction((), (Literal(str(head), named, positive),))]

    def _exists(self, item: Form, renamed: Mapping[str, str]) -> list[Conjunction]:
        self._expect(item, 2)
        bound = item.items[1]
        if not isinstance(bound, Form):
            self.place.fail(item, "'exists' must be followed by its variables in brackets")
        variables: list[tuple[str, str]] = []
        inner = dict(renamed)
        for name, kind in _typed_names(self.place, bound.items):
            self.fresh += 1
            inner[name] = f"{name}@{self.fresh}"
            variables.append((inner[name], kind))
        return [
            Conjunction((*variables, *conjunction.variables), conjunction.literals)
            for conjunction in self._conjunctions(item.items[2], inner, positive=True)
        ]

    def _both(self, item: Form, parts: list[list[Conjunction]]) -> list[Conjunction]:
        number = 1
        for part in parts:
            number *= len(part)
        if number > _MOST_CONJUNCTIONS:
            self.place.fail(item, f"the condition has more than {_MOST_CONJUNCTIONS} alternatives")
        return [
            Conjunction(
                tuple(variable for part in chosen for variable in part.variables),
                tuple(literal for part in chosen for literal in part.literals),
            )
            for chosen in product(*parts)
        ]

    def _effects(
        self, item: Item, conditions: tuple[Conjunction, ...], effects: list[Effect]
    ) -> None:
        if not isinstance(item, Form):
            self.place.fail(item, f"expected a bracketed effect but found '{item}'")
        if item.head == "and" or len(item) == 0:
            for part in item.rest:
                self._effects(part, conditions, effects)
        elif item.head == "when":
            self._expect(item, 2)
            if conditions != (Conjunction(),):
                self.place.fail(item, "'when' inside 'when' cannot be played")
            self._effects(item.items[2], self.condition(item.items[1]), effects)
        elif item.head == "forall":
            self.place.fail(item, "an effect on all things ('forall') cannot be played")
        elif item.head != "increase":
            read = self._conjunctions(item, {}, positive=True)
            if len(read) != 1 or read[0].variables or len(read[0].literals) != 1:
                self.place.fail(item, f"'{item}' is not an effect that can be played")
            effects.append(Effect(read[0].literals[0], conditions))

    def _expect(self, item: Form, arguments: int) -> None:
        if len(item) != arguments + 1:
            self.place.fail(item, f"'{item.head}' takes {arguments} arguments, not {len(item) - 1}")
