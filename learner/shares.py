"""How a batch is shared out among learners: consecutive traces, about as much to read for each.

Learners wait for the slowest at every step. Shares are consecutive, so that what the learners see,
one after another, is the batch as a single learner would see it (ours).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from configs.schema import DistillationConfig
from shared_memory.records import Trace


def shared_out(weights: Sequence[float], learners: int) -> list[range]:
    """Each learner's places: none is empty, and their weights are about the same.

    There must be at least as many weights as learners, and none may be negative.
    """
    sums = list(accumulate(weights))  # up to and with each place
    cuts = [0]
    for number in range(1, learners):
        wanted = sums[-1] * number / learners
        place = bisect_left(sums, wanted)
        before = sums[place - 1] if place else 0.0
        cut = place if wanted - before < sums[place] - wanted else place + 1
        cuts.append(min(max(cut, cuts[-1] + 1), len(weights) - learners + number))
    return [range(start, stop) for start, stop in zip(cuts, [*cuts[1:], len(weights)])]


def enough(traces: Sequence[Trace], learners: int) -> list[Trace]:
    """The batch, repeated where it has fewer traces than there are learners."""
    return [*traces, *(traces[place % len(traces)] for place in range(len(traces), learners))]


def weight(trace: Trace, config: DistillationConfig) -> float:
    """About how much of a trace a step reads, in characters."""
    length = len(trace.prompt) + sum(map(len, (*trace.observations, *trace.actions)))
    read = min(len(trace.actions), config.decisions) if config.decisions else len(trace.actions)
    return length * read / len(trace.actions)
