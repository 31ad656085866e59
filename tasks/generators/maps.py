"""Random maps: connected graphs of few places, for generators in which somebody moves about."""

from __future__ import annotations

import random
from collections.abc import Sequence


def random_map(
    rng: random.Random, places: Sequence[str], loops: int, reach: int = 0
) -> set[tuple[str, str]]:
    """Both directions of a random tree's connections and of `loops` more (if there are so many).

    With a `reach`, each place is connected to one of the so many before it: longer ways.
    """
    order = rng.sample(places, len(places))
    pairs = set()
    for i in range(1, len(order)):
        pairs.add((rng.choice(order[max(0, i - reach) if reach else 0 : i]), order[i]))
    others = [(a, b) for i, b in enumerate(order) for a in order[:i] if (a, b) not in pairs]
    pairs |= set(rng.sample(others, min(loops, len(others))))
    return pairs | {(b, a) for a, b in pairs}
