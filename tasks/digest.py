"""Digests of a task that do not depend on names or on the order of atoms (ours).

`content_digest` is of all that a problem says; `visible_digest` only of what the small LM sees of
it, so that two tasks with the same text up to interchangeable names get the same digest. Objects
are coloured by type and refined by the atoms they stand in (one-dimensional Weisfeiler-Leman);
classes that stay together are resolved by trying each member first, except where members are
interchangeable, and the least description wins. The search is bounded: past `MOST_VISITS`
(objects' places in atoms, looked at) the content digest falls back to the given names, and the
visible one to the refined colours alone. So tasks with different contents never share a content
digest (up to collisions of 128-bit BLAKE2), and tasks that look alike always share a visible one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from tasks.pddl import Problem
from tasks.task import Atom

MOST_VISITS = 20_000

_Fact: TypeAlias = tuple[str, tuple[str, ...]]
"""A marked predicate ("i" initial, "g" goal, then its name) with its arguments."""


class _TooManyError(Exception):
    """The bounded search for the least description was given up."""


def content_digest(domain: str, problem: Problem, constants: frozenset[str]) -> str:
    """The digest (32 hex digits) of domain, objects, initial state and goal."""
    facts = [_fact("i", atom) for atom in problem.initial] + [
        _fact("g", atom) for atom in problem.goal
    ]
    types = dict(problem.objects)
    labels = {name: f"{kind}={name}" if name in constants else kind for name, kind in types.items()}
    try:
        description = repr(_Canonical(facts, labels).least())
    except _TooManyError:
        description = repr(("names", sorted(types.items()), sorted(facts)))
    return _hash(domain, description)


def visible_digest(
    word: str, problem: Problem, shown: frozenset[str], labels: Mapping[str, str]
) -> str:
    """The digest (32 hex digits) of what a prompt shows (unless it shows all static atoms too).

    That is the domain's word, the initial state's atoms of `shown`, the goal, and of the objects in
    these what `labels` (object → what its word tells) says. Objects with one label are
    interchangeable.
    """
    facts = [_fact("i", atom) for atom in problem.initial if atom[0] in shown] + [
        _fact("g", atom) for atom in problem.goal
    ]
    mentioned = {name: labels[name] for _, arguments in facts for name in arguments}
    canonical = _Canonical(facts, mentioned)
    try:
        description = repr(canonical.least())
    except _TooManyError:
        description = repr(("colours", canonical.colours()))
    return _hash(word, description)


def _hash(domain: str, description: str) -> str:
    text = f"{domain}\n{description}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fact(mark: str, atom: Atom) -> _Fact:
    if atom[0] == "not":
        return f"{mark}-{atom[1]}", atom[2:]
    return f"{mark} {atom[0]}", atom[1:]


class _Canonical:
    """The least complete description of facts over the objects' orders that refinement leaves."""

    def __init__(self, facts: list[_Fact], labels: Mapping[str, str]) -> None:
        self.facts = facts
        self.labels = labels
        self.visits = 0
        self.most_visits = MOST_VISITS
        self.places: dict[str, list[tuple[str, int, tuple[str, ...]]]] = {
            name: [] for name in labels
        }
        for head, arguments in facts:
            for position, name in enumerate(arguments):
                self.places[name].append((head, position, arguments))
        self.size = sum(map(len, self.places.values()))
        self.start = _ranks({name: (label,) for name, label in labels.items()})

    def least(self) -> tuple[object, ...]:
        return self._search(self._refine(self.start))

    def colours(self) -> tuple[object, ...]:
        """What refinement alone tells: equal for facts that are equal up to names."""
        self.most_visits = self.visits + self.size * (len(self.labels) + 1)
        colours = self._refine(self.start)
        return (
            sorted((colour, self.labels[name]) for name, colour in colours.items()),
            sorted((head, tuple(colours[a] for a in args)) for head, args in self.facts),
        )

    def _search(self, colours: dict[str, int]) -> tuple[object, ...]:
        classes: dict[int, list[str]] = defaultdict(list)
        for name, colour in colours.items():
            classes[colour].append(name)
        open_classes = [(len(c), colour) for colour, c in classes.items() if len(c) > 1]
        if not open_classes:
            order = {
                name: rank for rank, name in enumerate(sorted(colours, key=colours.__getitem__))
            }
            return (
                tuple(self.labels[name] for name in order),
                tuple(sorted((head, tuple(order[a] for a in args)) for head, args in self.facts)),
            )
        tried: list[str] = []
        for name in classes[min(open_classes)[1]]:
            if not any(self._twins(earlier, name) for earlier in tried):
                tried.append(name)
        return min(self._search(self._refine(_singled_out(colours, name))) for name in tried)

    def _twins(self, first: str, second: str) -> bool:
        """Whether exchanging the two objects leaves all facts as they are."""
        exchange = {first: second, second: first}
        mine = {
            (head, tuple(exchange.get(a, a) for a in arguments))
            for name in (first, second)
            for head, _, arguments in self.places[name]
        }
        return mine == {
            (head, arguments)
            for name in (first, second)
            for head, _, arguments in self.places[name]
        }

    def _refine(self, colours: dict[str, int]) -> dict[str, int]:
        count = len(set(colours.values()))
        while count < len(colours):
            self.visits += self.size
            if self.visits > self.most_visits:
                raise _TooManyError
            colours = _ranks(
                {
                    name: (
                        colours[name],
                        sorted(
                            (head, position, tuple(colours[a] for a in arguments))
                            for head, position, arguments in places
                        ),
                    )
                    for name, places in self.places.items()
                }
            )
            refined = len(set(colours.values()))
            if refined == count:
                break
            count = refined
        return colours


def _singled_out(colours: dict[str, int], chosen: str) -> dict[str, int]:
    return {name: 2 * colour + (name != chosen) for name, colour in colours.items()}


def _ranks(keys: Mapping[str, tuple[object, ...]]) -> dict[str, int]:
    """Number the keys in their order: equal keys get equal numbers."""
    order = {repr(key): key for key in keys.values()}
    numbers = {text: rank for rank, text in enumerate(sorted(order))}
    return {name: numbers[repr(key)] for name, key in keys.items()}
