"""Which names the small LM sees for a task's objects.

Objects fall into pools (blocks, rooms, discs ...), and each pool has words `block1`, `block2`, ....
A pool is ordered where its names carry meaning that the text does not show otherwise (disc1 is
smaller than disc2); else its words are interchangeable, and a task may draw them at random.
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
    """The pools of a domain and how its objects fall into them.

    Objects called by their own names are `own_names` (the one robot of Blocks).
    """

    pools: tuple[Pool, ...]
    classify: Classify
    own_names: frozenset[str] = frozenset()

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


def naming_rules(name: str, definition: DomainDefinition) -> NamingRules:
    """The rules for one of the domains with a generator, or general ones."""
    if name == "blocks":
        return NamingRules((Pool("block"),), _by_type, frozenset({"robot"}))
    if name == "gripper":
        # Ordered: permuted, the hand that canonical plans take first could not be learned.
        grippers = Pool("gripper", ordered=True, words=("left", "right"))
        return NamingRules(
            (Pool("ball"), Pool("room"), grippers), _by_predicate(("ball", "room", "gripper"))
        )
    if name == "ferry":
        return NamingRules(
            (Pool("car"), Pool("location")),
            _by_predicate(("car", "location")),
            frozenset({"ferry"}),
        )
    if name == "hanoi":
        return NamingRules((Pool("disc", ordered=True), Pool("peg")), _discs_and_pegs)
    return _general_rules(definition)


def _general_rules(definition: DomainDefinition) -> NamingRules:
    """One pool a type, or a unary static predicate where exactly one is true of an object.

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
    return NamingRules(tuple(pools), _by_predicate(unary))


def _word(name: str) -> str:
    """A pool's name never ends in a digit, so that numbered words of two pools differ."""
    return f"{name}-" if name[-1:].isdigit() else name


def _by_type(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
    del atoms
    return {name: _word(kind.split("|")[0]) for name, kind in objects}


def _by_predicate(predicates: Iterable[str]) -> Classify:
    chosen = frozenset(predicates)

    def classify(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
        said: dict[str, list[str]] = {}
        for atom in atoms:
            if len(atom) == 2 and atom[0] in chosen:
                said.setdefault(atom[1], []).append(atom[0])
        pools = _by_type(objects, atoms)
        single = {name: _word(found[0]) for name, found in said.items() if len(found) == 1}
        return pools | single

    return classify


def _discs_and_pegs(objects: TypedNames, atoms: frozenset[Atom]) -> dict[str, str]:
    discs = {atom[2] for atom in atoms if atom[0] == "smaller"}
    return {name: "disc" if name in discs else "peg" for name, _ in objects}


@dataclass(frozen=True, slots=True)
class Naming:
    """A bijection between a task's objects and the words that the small LM sees."""

    domain: str
    word: Mapping[str, str]
    object: Mapping[str, str]
