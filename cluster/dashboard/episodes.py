"""The episodes that a run kept word for word: a list of them, and one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.dashboard.tail import Tail

BRIEF = ("episode", "task_index", "domain", "phase", "version", "success", "fault")
BUDGET_S = 0.02
MOST_LISTED = 400


class KeptEpisodes:
    """An index of `episodes.jsonl` by episode number; the lines stay in the file."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._places: dict[int, int] = {}
        self._briefs: dict[int, dict[str, Any]] = {}

    def read(self) -> None:
        """Take in what is new, for a moment."""
        for offset, values in self._tail.lines(BUDGET_S):
            number = int(values["episode"])
            self._places[number] = offset
            self._briefs[number] = {
                **{name: values[name] for name in BRIEF},
                "decisions": len(values["decisions"]),
            }

    def listed(self, domain: str | None = None) -> list[dict[str, Any]]:
        """The last episodes (of a domain), newest first, without their decisions."""
        self.read()
        chosen = [one for one in self._briefs.values() if domain in (None, one["domain"])]
        return chosen[: -MOST_LISTED - 1 : -1]

    def one(self, number: int) -> dict[str, Any] | None:
        """An episode with all that was kept of it; None where it was not kept."""
        self.read()
        if number not in self._places:
            return None
        with self._tail.path.open("rb") as file:
            file.seek(self._places[number])
            found: dict[str, Any] = json.loads(file.readline())
        return found
