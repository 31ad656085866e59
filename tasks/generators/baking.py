"""Baking problems: cakes from egg and flour, soufflés from egg, in pans and one oven.

Every dish has its egg (and flour), and some are to spare. A pan may start with what one of the
dishes needs, and one pan may start in the oven, perhaps dirty. Every dish has a soap, since a pan
must be clean to be filled again. The goal may ask for an empty oven as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from tasks.generators.generator import Generator, Parameter, goals, keep_goals
from tasks.naming import NamingRules, Pool, by_first_predicate
from tasks.pddl import Problem, holds
from tasks.task import Atom

OVEN = "oven-0"
_FILLINGS = {
    "iscake": ((), ("egg",), ("flour",), ("egg", "flour"), ("mix",)),
    "issouffle": ((), ("egg",)),
}
"""What a pan may hold at the start for a dish of each kind."""


def draw(rng: random.Random, size: Mapping[str, int]) -> Problem:
    """A problem with `size["dishes"]` dishes and `size["pans"]` pans."""
    dishes = [f"new-{i}" for i in range(1, size["dishes"] + 1)]
    pans = [f"pan-{i}" for i in range(1, size["pans"] + 1)]
    soaps = [f"soap-{i}" for i in range(1, len(dishes) + 1)]
    while True:
        wanted: list[Atom] = [(rng.choice(("iscake", "issouffle")), dish) for dish in dishes]
        ingredients, initial = _kitchen(rng, pans, [kind for kind, _ in wanted], size["spare"])
        if rng.random() < 0.5:
            wanted.append(("not", "ovenisfull", OVEN))
        goal = keep_goals(rng, wanted, size.get("goals", 0))
        if not all(holds(condition, initial) for condition in goal):
            break
    objects = (
        (OVEN, "oven"),
        *((name, "ingredient") for name in (*ingredients, *dishes)),
        *((name, "pan") for name in pans),
        *((name, "soap") for name in soaps),
    )
    initial |= {("hypothetical", dish) for dish in dishes}
    return Problem(f"baking-{len(dishes)}-{len(pans)}", objects, initial, goal)


def _kitchen(
    rng: random.Random, pans: Sequence[str], kinds: Sequence[str], spare: int
) -> tuple[list[str], frozenset[Atom]]:
    """Ingredients for dishes of these kinds and `spare` more, and the atoms of pans and oven."""
    initial: set[Atom] = set()
    heated = rng.choice([None, *pans])
    if heated:
        initial |= {("inoven", heated, OVEN), ("ovenisfull", OVEN), ("paninoven", heated)}
    counts = {"egg": len(kinds), "flour": kinds.count("iscake")}
    for _ in range(spare):
        counts[rng.choice(("egg", "flour"))] += 1
    placed = dict.fromkeys(counts, 0)
    for pan, kind in zip_longest(pans, rng.sample(kinds, min(len(kinds), len(pans)))):
        filling = rng.choice(_FILLINGS[kind]) if kind else ()
        if pan != heated or filling or rng.random() < 0.5:
            initial.add(("panisclean", pan))
        for item in filling:
            if item == "mix":
                initial.add(("ismixed", pan))
                counts["egg"] -= 1
                counts["flour"] -= 1
            else:
                placed[item] += 1
                ingredient = f"{item}-{placed[item]}"
                initial |= {("inpan", ingredient, pan), (f"panhas{item}", pan)}
    ingredients = [f"{item}-{i}" for item, n in counts.items() for i in range(1, n + 1)]
    initial |= {(f"is{name.partition('-')[0]}", name) for name in ingredients}
    return ingredients, frozenset(initial)


_POOLS = {"isegg": "egg", "isflour": "flour", "hypothetical": "dish"}

BAKING = Generator(
    (
        Parameter("dishes", 1, (2, 2), "dishes that can be made, each with what it takes"),
        Parameter("pans", 1, (1, 2), "pans"),
        Parameter("spare", 0, (0, 1), "eggs or flours beyond those that are needed"),
        goals(2, 3),
    ),
    draw,
    # Soaps and the oven are ordered: no atom shows them before they are used. There are as many
    # soaps as hypothetical dishes at the start.
    NamingRules(
        (
            *(Pool(pool) for pool in _POOLS.values()),
            Pool("pan"),
            Pool("oven", ordered=True),
            Pool("soap", ordered=True),
            Pool("ingredient"),
        ),
        by_first_predicate(_POOLS),
        implied=frozenset({"panhasegg", "panhasflour", "paninoven", "ovenisfull"}),
    ),
)
