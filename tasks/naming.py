"""Which names the small LM sees for a task's objects.

Objects fall into pools (blocks, rooms, discs ...), and each pool has words `block1`, `block2`, ....
A pool is ordered where its names carry meaning that the text does not show otherwise (disc1 is
smaller than disc2); else its words are interchangeable, and a task may draw them at random.

The rules also say what a text shows besides: static atoms without which a task could not be
solved (where a passenger waits), and fluent ones that it can do without since others imply them
(a hand is free where it carries nothing). Domains with a generator bring rules of their own;
others get general ones, whose texts show the fluent atoms and no static ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tasks.pddl import DomainDefinition, TypedNames
from tasks.task import Atom

Classify = Callable[[TypedNames, frozenset[Atom]], dict[str, str]]
"""(objects, atoms) → the pool of each object that is not called by its own name."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of objects; `words` are its names if they are fixed, else they are numbered."""

    name: str
    ordered: bool = False
    words: tuple[str, ...] = ()

    def names(self, count: int, taken: frozenset[str]) -> tuple[str, ...]:
        """The pool's words: the fixed ones or `count` numbered ones, without the taken ones."""
        if self.words:
            return self.words
        numbered = (f"{self.name}{i}" for i in range(1, count + len(taken) + 1))
        return tuple(word for word in numbered if word not in taken)[:count]


@dataclass(frozen=True, slots=True)
class NamingRules:
    """The pools of a domain, how its objects fall into them, and which atoms a text shows.

    Objects called by their own names are `own_names` (the one robot of Blocks). `shown` are static
    predicates that a prompt always shows; `implied` are fluent ones that no text shows, because
    the atoms shown and the problem fix them.
    """

    pools: tuple[Pool, ...]
    classify: Classify
    own_names: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    implied: frozenset[str] = frozenset()

    def labels(
        self, objects: TypedNames, atoms: frozenset[Atom], constants: frozenset[str]
    ) -> dict[str, str]:
        """What each object's word tells besides the atoms it stands in.

        That is the object's own name, its rank in an ordered pool, or only its pool.
        """
        ordered = {pool.name for pool in self.pools if pool.ordered}
        kept = self.own_names | constants
        pool_of = self.classify(objects, atoms)
        labels: dict[str, str] = {}
        ranks: dict[str, int] = {}
        for name in sorted((name for name, _ in objects), key=natural_key):
            pool = pool_of[name]
            if name in kept:
                labels[name] = f"={name}"
            elif pool in ordered:
                ranks[pool] = ranks.get(pool, 0) + 1
                labels[name] = f"{pool} {ranks[pool]}"
            else:
                labels[name] = pool
        return labels


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key in which `d2` comes before `d10`."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def general_rules(definition: DomainDefinition) -> NamingRules:
    """Rules for any domain: a pool for each type, or for a unary static predicate.

    An object is called by the predicate where exactly one is true of it.
    A pool is ordered if a static predicate of two or more arguments can speak of its objects:
    that relation is not shown (unless the run shows static atoms), so only names can carry it.
    """
    static = {p: types for p, types in definition.predicates.items() if p not in definition.fluents}
    unary = tuple(predicate for predicate, types in static.items() if len(types) == 1)
    related = {kind for types in static.values() if len(types) > 1 for _, kind in types}
    types = {*definition.types, "object"}
    ordered_types = {t for t in types if any(definition.fits(t, kind) for kind in related)}
    pools = [Pool(_word(t), ordered=t in ordered_types) for t in sorted(types)]
    pools += [
        Pool(
            _word(predicate),
            ordered=any(
                definition.fits(k, static[predicate][0][1])
                or definition.fits(static[predicate][0][1], k)
                for k in related
            ),
        )
        for predicate in unary
        if predicate not in types
    ]
    return NamingRules(tuple(pools), by_predicate(unary))


def _word(name: str) -> str:
    """A pool's name never ends in a digit, so that numbered words of two pools differ."""
    return f"{name}-" if name[-1:].isdigit() else name


def by_type(pools: Mapping[str, str] | None = None) -> Classify:
    """Objects fall into the pool of their type, called as the type unless `pools` says else."""
    given = pools or {}

    def classify(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
        del atoms
        kinds = {name: kind.split("|")[0] for name, kind in objects}
        return {name: given.get(kind, _word(kind)) for name, kind in kinds.items()}

    return classify


def by_first_predicate(
    pools: Mapping[str, str], types: Mapping[str, str] | None = None
) -> Classify:
    """Objects fall into the pool of the first of these unary predicates that is true of them.

    Objects of which none is true fall into that of their type, as with `by_type(types)`.
    """
    ranks = {predicate: rank for rank, predicate in enumerate(pools)}

    def classify(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
        said: dict[str, list[str]] = {}
        for atom in atoms:
            if len(atom) == 2 and atom[0] in ranks:
                said.setdefault(atom[1], []).append(atom[0])
        first = {name: pools[min(found, key=ranks.__getitem__)] for name, found in said.items()}
        return by_type(types)(objects, atoms) | first

    return classify


def by_predicate(predicates: Iterable[str]) -> Classify:
    """Objects fall into the pool of a unary predicate where exactly one of these is true of them.

    Other objects are called by their type.
    """
    chosen = frozenset(predicates)

    def classify(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
        said: dict[str, list[str]] = {}
        for atom in atoms:
            if len(atom) == 2 and atom[0] in chosen:
                said.setdefault(atom[1], []).append(atom[0])
        pools = by_type()(objects, atoms)
        single = {name: _word(found[0]) for name, found in said.items() if len(found) == 1}
        return pools | single

    return classify


@dataclass(frozen=True, slots=True)
class Naming:
    """A bijection between a task's objects and the words that the small LM sees.

    It grows where a world is seen in part: `Rendering` names the objects that an episode comes
    to know, drawing by `seed`.
    """

    domain: str
    seed: int
    word: dict[str, str]
    object: dict[str, str]
