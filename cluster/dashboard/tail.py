"""Reading a file of JSON lines that grows: whole lines only, from where the last look ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 18
"""Bytes read at once."""


class Tail:
    """Remembers how far a file was read. A file that became shorter (a half line was cut off by a
    resume) is read on from its end; one that is absent is empty.

    `broken` counts lines that are no JSON objects; they are passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.size = 0
        self.broken = 0
        self._looked = False

    @property
    def behind(self) -> bool:
        """Whether the last look left bytes unread."""
        return self.offset < self.size

    @property
    def read_share(self) -> float:
        """How much of the file was read, from 0 to 1."""
        if not self._looked:
            return 0.0
        return self.offset / self.size if self.size else 1.0

    def lines(self, budget_s: float) -> Iterator[tuple[int, dict[str, Any]]]:
        """The next lines with the offsets at which they begin, for about `budget_s` seconds."""
        deadline = time.perf_counter() + budget_s
        self._looked = True
        try:
            self.size = self.path.stat().st_size
        except FileNotFoundError:
            return
        self.offset = min(self.offset, self.size)
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while time.perf_counter() < deadline:
                chunk = file.read(CHUNK)
                end = chunk.rfind(b"\n") + 1
                while chunk and not end:  # a line longer than a chunk
                    more = file.read(CHUNK)
                    if not more:
                        self.size = self.offset  # half a line: later
                        return
                    chunk += more
                    end = chunk.rfind(b"\n") + 1
                if not chunk:
                    return
                for line in chunk[:end].splitlines(keepends=True):
                    start, self.offset = self.offset, self.offset + len(line)
                    try:
                        values = json.loads(line)
                    except ValueError:
                        self.broken += 1
                        continue
                    if isinstance(values, dict):
                        yield start, values
                    else:
                        self.broken += 1
                file.seek(self.offset)
