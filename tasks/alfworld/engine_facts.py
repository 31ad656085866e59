"""The facts of a game and the search for what satisfies conditions in them.

Facts are tuples of names by predicate, indexed by any of their places when first asked so.
A condition is compiled once a game to a plan that binds the rarest atoms first, then carried out
as a join: a list of rows (tuples of names) that every step extends or thins out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from tasks.alfworld.engine_pddl import ROOT_TYPE, Conjunction, GameDomain, Literal, TypedNames
from tasks.task import Atom

Row: TypeAlias = tuple[str, ...]
_Index: TypeAlias = dict[Row, dict[Row, None]]
_Step: TypeAlias = Callable[[list[Row]], list[Row]]


class Facts:
    """Atoms that hold; only those of `fluents` ever change."""

    def __init__(
        self, domain: GameDomain, objects: Mapping[str, str], initial: Iterable[Atom]
    ) -> None:
        self.types = objects
        kinds: dict[str, set[str]] = {}
        for name, kind in objects.items():
            for supertype in domain.supertypes(kind):
                kinds.setdefault(supertype, set()).add(name)
        self.members = {kind: frozenset(names) for kind, names in kinds.items()}
        self.fluents = frozenset(
            word for predicate in domain.fluents for word in (predicate, f"not_{predicate}")
        )
        self._initial: dict[str, list[Row]] = {}
        for atom in sorted(initial):
            self._initial.setdefault(atom[0], []).append(atom[1:])
        self._rows = {name: dict.fromkeys(rows) for name, rows in self._initial.items()}
        self._indexes: dict[str, dict[tuple[int, ...], _Index]] = {}

    def restart(self) -> None:
        """Go back to the initial atoms."""
        for predicate in self.fluents:
            self._rows[predicate] = dict.fromkeys(self._initial.get(predicate, ()))
            self._indexes.pop(predicate, None)

    def all(self, predicate: str) -> Mapping[Row, None]:
        """The arguments of all atoms of the predicate."""
        return self._rows.get(predicate, {})

    def atoms(self) -> Iterable[Atom]:
        """Everything that holds; "not_..." are atoms that some action has made false."""
        for predicate, rows in self._rows.items():
            for row in rows:
                yield predicate, *row

    def holds(self, predicate: str, arguments: Row) -> bool:
        """Whether the atom holds."""
        rows = self._rows.get(predicate)
        return rows is not None and arguments in rows

    def index(self, predicate: str, places: tuple[int, ...]) -> _Index:
        """Atoms' arguments by what stands at some of their places.

        It belongs to the present episode: ask again after `restart`.
        """
        indexes = self._indexes.setdefault(predicate, {})
        index = indexes.get(places)
        if index is None:
            index = indexes[places] = {}
            for row in self._rows.get(predicate, ()):
                index.setdefault(tuple([row[place] for place in places]), {})[row] = None
        return index

    def add(self, predicate: str, arguments: Row) -> None:
        """Make the atom true."""
        rows = self._rows.setdefault(predicate, {})
        if arguments not in rows:
            rows[arguments] = None
            for places, index in self._indexes.get(predicate, {}).items():
                key = tuple([arguments[place] for place in places])
                index.setdefault(key, {})[arguments] = None

    def remove(self, predicate: str, arguments: Row) -> None:
        """Make the atom false."""
        rows = self._rows.get(predicate)
        if rows is not None and arguments in rows:
            del rows[arguments]
            for places, index in self._indexes.get(predicate, {}).items():
                del index[tuple([arguments[place] for place in places])][arguments]


class Plan:
    """A conjunction, ready to be searched; `slots` says where a row holds a variable."""

    def __init__(self, facts: Facts, conjunction: Conjunction, given: TypedNames = ()) -> None:
        """`given`: variables whose values come with each search, in this order."""
        self._facts = facts
        self._types = dict((*given, *conjunction.variables))
        self.slots = {name: place for place, (name, _) in enumerate(given)}
        self._steps: list[_Step] = []
        waiting = list(conjunction.literals)
        while waiting:
            bound = [literal for literal in waiting if self._is_bound(literal)]
            atoms = [x for x in waiting if x.positive and x.predicate != "="]
            if bound:
                literal = bound[0]
                self._steps.append(self._filter(literal))
            elif atoms:
                literal = min(atoms, key=self._expected)
                self._steps.append(self._match(literal))
            else:
                self._choose(next(x for x in waiting[0].arguments if self._is_open(x)))
                continue
            waiting.remove(literal)
        for name, _ in conjunction.variables:
            if name not in self.slots:
                self._choose(name)

    def search(self, given: Row = ()) -> list[Row]:
        """All rows that satisfy the conjunction and start with the given values."""
        rows = [given]
        for step in self._steps:
            rows = step(rows)
            if not rows:
                break
        return rows

    def _is_open(self, argument: str) -> bool:
        return argument[0] == "?" and argument not in self.slots

    def _is_bound(self, literal: Literal) -> bool:
        return not any(map(self._is_open, literal.arguments))

    def _expected(self, literal: Literal) -> float:
        """About how many atoms match, judged by the present ones."""
        places = tuple(place for place, x in enumerate(literal.arguments) if not self._is_open(x))
        return (1 + len(self._facts.all(literal.predicate))) / (
            1 + len(self._facts.index(literal.predicate, places))
        )

    def _getter(self, arguments: tuple[str, ...]) -> Callable[[Row], Row]:
        """What the arguments are for a row."""
        sources = [(self.slots.get(x, -1), x) for x in arguments]
        return lambda row: tuple([row[slot] if slot >= 0 else x for slot, x in sources])

    def _filter(self, literal: Literal) -> _Step:
        get = self._getter(literal.arguments)
        positive = literal.positive
        if literal.predicate == "=":
            return lambda rows: [row for row in rows if (len(set(get(row))) == 1) == positive]
        holds, predicate = self._facts.holds, literal.predicate
        return lambda rows: [row for row in rows if holds(predicate, get(row)) == positive]

    def _match(self, literal: Literal) -> _Step:
        arguments = literal.arguments
        known = tuple(place for place, x in enumerate(arguments) if not self._is_open(x))
        get = self._getter(tuple(arguments[place] for place in known))
        opened: dict[str, int] = {}
        equal: list[tuple[int, int]] = []
        for place, argument in enumerate(arguments):
            if place not in known:
                if argument in opened:
                    equal.append((opened[argument], place))
                else:
                    opened[argument] = place
        members = [
            (place, self._facts.members.get(self._types[name], frozenset()))
            for name, place in opened.items()
            if self._types[name] != ROOT_TYPE
        ]
        for name in opened:
            self.slots[name] = len(self.slots)
        places = list(opened.values())
        facts, predicate = self._facts, literal.predicate

        def fits(found: Row) -> bool:
            for place, kind in members:
                if found[place] not in kind:
                    return False
            return not equal or all(found[first] == found[second] for first, second in equal)

        def extend(rows: list[Row]) -> list[Row]:
            index = facts.index(predicate, known)
            return [
                row + tuple([found[place] for place in places])
                for row in rows
                for found in index.get(get(row), ())
                if fits(found)
            ]

        return extend

    def _choose(self, name: str) -> None:
        members = sorted(self._facts.members.get(self._types[name], ()))
        self.slots[name] = len(self.slots)
        self._steps.append(lambda rows: [(*row, member) for row in rows for member in members])
