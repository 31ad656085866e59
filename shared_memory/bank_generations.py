"""What the published book makes of a bank's entries: whether it has their codes, and since when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_memory.records import Codes

BEYOND = 2**62
"""When a code that the book does not have was born."""


@dataclass(frozen=True, slots=True)
class PublishedBook:
    """What entries are compared with: the published version, and when its codes were born (K,)."""

    version: int
    born: npt.NDArray[np.int64]

    def youngest(self, codes: Codes) -> int:
        """When the youngest of these codes (n,) was born; `BEYOND` where one is not in the book."""
        known = int(codes.max()) < self.born.size
        return int(self.born[codes].max()) if known else BEYOND


@dataclass(frozen=True, slots=True)
class GenerationCounts:
    """Entries of all banks, by what the published book makes of them.

    `outdated` ones are in order: look-ups pass them over until they are seen again. The others are
    only where entries of another book were imported.
    """

    outdated: int = 0  # with a code born after they were last seen
    beyond: int = 0  # with a code that the book does not have
    ahead: int = 0  # last seen with a version that is not published yet

    def __add__(self, other: GenerationCounts) -> GenerationCounts:
        return GenerationCounts(
            self.outdated + other.outdated, self.beyond + other.beyond, self.ahead + other.ahead
        )
