"""A digest of a task's content that does not depend on names or on the order of atoms.

Two tasks that differ only in how their objects are called get the same digest (ours). Objects
are coloured by type and refined by the atoms they stand in (one-dimensional Weisfeiler-Leman);
classes that stay together are resolved by trying each member first, except where members are
interchangeable, and the least description wins. The search is bounded: past `MOST_VISITS`
(objects' places in atoms, looked at) the digest falls back to the given names. Both forms
describe the task completely, so that different tasks never share a digest (up to collisions of
128-bit BLAKE2).
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
    try:
        description = repr(_Canonical(facts, types, constants).least())
    except _TooManyError:
        description = repr(("names", sorted(types.items()), sorted(facts)))
    text = f"{domain}\n{description}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fact(mark: str, atom: Atom) -> _Fact:
    if atom[0] == "not":
        return f"{mark}-{atom[1]}", atom[2:]
    return f"{mark} {atom[0]}", atom[1:]


class _Canonical:
    """The least complete description of facts over the objects' orders that refinement leaves."""

    def __init__(
        self, facts: list[_Fact], types: Mapping[str, str], constants: frozenset[str]
    ) -> None:
        self.facts = facts
        self.labels = {
            name: f"{kind}={name}" if name in constants else kind for name, kind in types.items()
        }
        self.visits = 0
        self.places: dict[str, list[tuple[str, int, tuple[str, ...]]]] = {
            name: [] for name in types
        }
        for head, arguments in facts:
            for position, name in enumerate(arguments):
                self.places[name].append((head, position, arguments))
        self.size = sum(map(len, self.places.values()))
        self.start = _ranks({name: (label,) for name, label in self.labels.items()})

    def least(self) -> tuple[object, ...]:
        return self._search(self._refine(self.start))

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
            if self.visits > MOST_VISITS:
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
