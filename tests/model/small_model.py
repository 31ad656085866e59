"""Words and made-up traces for the tests of model/."""

from __future__ import annotations

import pytest

from model import EncodedTrace, ProcedureLM

ONE_AND_TWO_WRITES = pytest.mark.parametrize(
    "also_written_at", [(), (1,)], ids=["one write", "two writes"]
)
WORDS = ("<pad>", "<domain>", "<goal>", "<state>", "<act>", "<end>", "go", "take")
NAMES = tuple(f"place{number}" for number in range(1, 7))


def trace_of(model: ProcedureLM, number: int) -> EncodedTrace:
    """A made-up trace; different for each number."""
    first, second = NAMES[number % 6], NAMES[(number + 1 + number // 6) % 6]
    return EncodedTrace.encode(
        model.tokenizer,
        f"<domain> go <goal> take {second} <state> go {first}" + f" take {first}" * (number % 3),
        ("", "", "")[: 1 + number % 3],
        (f"go {first} {second}", f"take {second}", f"go {second} {first}")[: 1 + number % 3],
    )


def anew_trace_of(model: ProcedureLM, number: int) -> EncodedTrace:
    """A made-up trace whose text begins anew before some, or all, of its decisions."""
    count = 1 + number % 4
    observations = [""]
    for step in range(1, count):
        anew = f"<domain> go <goal> take {NAMES[(number + 2 * step) % 6]} <state>"
        state = f" go {NAMES[(number + step) % 6]}" * (1 + (number + step) % 3)
        observations.append(anew + state if (number + step) % 5 else "")
    first, second = NAMES[number % 6], NAMES[(number + 1) % 6]
    return EncodedTrace.encode(
        model.tokenizer,
        f"<domain> go <goal> take {second} <state> go {first}" + f" take {first}" * (number % 3),
        observations,
        [
            " ".join(("go", NAMES[(number + step) % 6], second)[: 2 + step % 2])
            for step in range(count)
        ],
    )
