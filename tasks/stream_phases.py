"""How a stream's phases are laid out: recurrences, turns of the domains, sizes that drift.

Pure functions of the configuration; `tasks.stream` draws the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.domains import get_domain


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the stream: tasks `start` to `stop` - 1."""

    number: int
    name: str
    start: int
    stop: int
    domains: tuple[str, ...]

    def place(self, index: int) -> float:
        """How far into the phase a task stands: 0 for its first, 1 for its last."""
        return (index - self.start) / max(1, self.stop - self.start - 1)


def lay_out(config: StreamConfig) -> tuple[tuple[Phase, PhaseConfig], ...]:
    """All phases in their order; from the second round on, their names carry its number."""
    laid_out: list[tuple[Phase, PhaseConfig]] = []
    start = 0
    for turn in range(config.repeat):
        for phase in config.phases:
            domains = dict.fromkeys(get_domain(share.name).name for share in phase.domains)
            name = f"{phase.name} ({turn + 1})" if turn else phase.name
            stop = start + phase.tasks
            laid_out.append((Phase(len(laid_out), name, start, stop, tuple(domains)), phase))
            start = stop
    return tuple(laid_out)


def turns(shares: Sequence[DomainShare], tasks: int) -> tuple[DomainShare, ...]:
    """Whose turn it is at each of the tasks: by weight, as evenly spread as can be.

    Smooth weighted round robin: each share gains its weight, and the one with the most has its
    turn and pays the sum of all.
    """
    weights = [share.weight for share in shares]
    gained = [0.0] * len(shares)
    order = []
    for _ in range(tasks):
        gained = [have + weight for have, weight in zip(gained, weights)]
        chosen = gained.index(max(gained))
        gained[chosen] -= sum(weights)
        order.append(shares[chosen])
    return tuple(order)


def size_at(share: DomainShare, place: float) -> Mapping[str, tuple[int, int]]:
    """The ranges of a share's sizes at a place (0 to 1) in its phase."""
    if not share.drift_to:
        return share.size
    moved = {
        name: (
            _between(share.size[name][0], least, place),
            _between(share.size[name][1], most, place),
        )
        for name, (least, most) in share.drift_to.items()
    }
    return share.size | moved


def _between(first: int, last: int, place: float) -> int:
    return round(first + (last - first) * place)
