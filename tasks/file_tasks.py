"""Tasks of files, kept for the next time as far as they are small.

A stream draws the few problems of a small domain again and again, and real games by the thousand,
each of which is about 90 KB of text: what is kept is bounded by its characters, not its number.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from tasks.domains import get_domain
from tasks.task import Task

MOST_CHARACTERS = 4_000_000
"""Of all problems that a process keeps."""


class FileTasks:
    """Reads tasks from files; keeps those last asked for, up to `most_characters` in all."""

    def __init__(self, most_characters: int = MOST_CHARACTERS) -> None:
        self._most = most_characters
        self._kept: OrderedDict[tuple[str, Path], Task] = OrderedDict()
        self._lock = threading.Lock()
        self.characters = 0

    def task(self, domain: str, file: Path) -> Task:
        """The task of a domain's file; `TaskError` if it cannot be read."""
        key = (domain, file)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        task = get_domain(domain).task_from_file(file)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = task
                self.characters += len(task.problem)
            while self.characters > self._most:
                _, oldest = self._kept.popitem(last=False)
                self.characters -= len(oldest.problem)
        return task
