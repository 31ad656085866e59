"""Records of every kind as each schema version wrote them, kept in golden/ for good.

    python tests/shared_memory/golden_records.py    # writes those of the present version, once

`vN.msgpack` holds a list of [name of the record's class, its bytes]. Each was written by a program
of its version (those of 1 to 4 by the commits ad01fea, ea96fed, b58936a and 07e3a54) and stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from shared_memory import codec
from shared_memory.records import (
    BankEntry,
    Decision,
    Episode,
    PlanOutcomeRecord,
    PlanRequest,
    Trace,
)

GOLDEN = Path(__file__).with_name("golden")
CODES = np.array([0, 1, 255, 256, 65535], dtype=np.uint16)
DECISIONS = (
    Decision(0, CODES, "stack block1 block2", True, (1, 2, 300, 70_000)),
    Decision(1, np.empty(0, dtype=np.uint16), "é ∧ 猫", False, ()),
)
RECORDS: tuple[Any, ...] = (
    *DECISIONS,
    Episode(
        *(7, 9, "0" * 32, "blocks", 2, 11, True, 1, 2, 5, DECISIONS, "actor-0", 0.25, 3, 4),
        fault="the simulator did not answer",
        near=("both", ""),
        alone=("pickup block1", ""),
    ),
    PlanRequest(5, "1" * 32, "blocks", 0, "(define (problem p))", "generator", True),
    Trace(5, "1" * 32, "blocks", 0, "astar", "prompt", ("", "seen"), ("a", "b")),
    PlanOutcomeRecord(5, "1" * 32, "blocks", 0, "astar", "solved", 3, 0.5, True, True, True),
    BankEntry(CODES, "a b", False, "blocks", 1, 9, "2" * 32, 7, 1, 11, True, tuple(range(300))),
)


def main() -> None:
    """Keep what this version writes."""
    file = GOLDEN / f"v{codec.SCHEMA_VERSION}.msgpack"
    if not file.exists():
        rows = [[type(record).__name__, codec.encode(record)] for record in RECORDS]
        file.write_bytes(msgpack.packb(rows))


if __name__ == "__main__":
    main()
