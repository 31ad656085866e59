"""Which codes acting uses, by domain: episodes go in, a count over every hundred or so comes out.

It is kept in memory only: what a killed driver had counted and not told yet is not told again, so
that `tasks` says how many tasks a count rests on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cluster.observer import CodesCounted, DomainCodes
from shared_memory.records import Episode

TASKS = 100
"""Tasks that one count covers; a phase's last one may cover fewer."""


@dataclass(slots=True)
class _Domain:
    tasks: int = 0
    codes: Counter[int] = field(default_factory=Counter)


class CodeCounts:
    """Counts the codes in the procedures of finished episodes."""

    def __init__(self) -> None:
        self._tasks = 0
        self._phase = 0
        self._domains: dict[str, _Domain] = {}

    @property
    def full(self) -> bool:
        """Whether it is time to take the count out."""
        return self._tasks >= TASKS

    def take(self, episode: Episode) -> None:
        """Count an episode's codes; one without procedures counts as a task all the same."""
        self._tasks += 1
        self._phase = episode.phase
        domain = self._domains.setdefault(episode.domain, _Domain())
        domain.tasks += 1
        for decision in episode.decisions:
            domain.codes.update(decision.codes.tolist())

    def take_out(self) -> CodesCounted | None:
        """The count so far, which begins anew; None where no task was counted."""
        if not self._tasks:
            return None
        found = CodesCounted(
            phase=self._phase,
            tasks=self._tasks,
            domains=tuple(
                DomainCodes(
                    domain=name,
                    tasks=one.tasks,
                    codes=tuple(sorted(one.codes)),
                    counts=tuple(one.codes[code] for code in sorted(one.codes)),
                )
                for name, one in sorted(self._domains.items())
            ),
        )
        self._tasks, self._domains = 0, {}
        return found
