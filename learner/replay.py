"""A reservoir of old traces for replay (Vitter's algorithm R).

Every trace that was ever added has the same chance to be in it, so that a task's share of replay
is its share of the stream, however slow or rare it was; beyond that, up to a third of the draws go
to what was answered wrong last (learner.curriculum). The generator has a name of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np

from configs.errors import NesyprError
from learner.curriculum import draw
from learner.errors import LearnerError
from shared_memory.codec import decode, encode
from shared_memory.records import Trace

_SCHEMA = 2


def named_generator(seed: int, name: str) -> np.random.Generator:
    """A generator whose draws depend on the run's seed and its own name only."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


class Reservoir:
    """At most `capacity` traces, a uniform sample of all that were added.

    `seen` counts the added ones. Not for several threads.
    """

    def __init__(self, capacity: int, seed: int, name: str = "replay") -> None:
        if capacity < 1:
            raise LearnerError(f"a replay reservoir needs a capacity of at least 1, not {capacity}")
        self.capacity = capacity
        self.seen = 0
        self._name = name
        self._generator = named_generator(seed, name)
        self._traces: list[Trace] = []
        self._wrong = np.ones(capacity)  # by place: as last answered; before, all of it

    def __len__(self) -> int:
        return len(self._traces)

    @property
    def traces(self) -> Sequence[Trace]:
        """What it holds, in no meaningful order."""
        return self._traces

    def add(self, trace: Trace) -> None:
        """Add one trace; it may take the place of an older one, or not be kept."""
        self.seen += 1
        if len(self._traces) < self.capacity:
            self._traces.append(trace)
            return
        place = int(self._generator.integers(self.seen))
        if place < self.capacity:
            self._traces[place] = trace
            self._wrong[place] = 1.0

    def draw(self, count: int) -> list[int]:
        """Draw places of `traces`, some perhaps twice; empty if none are held."""
        if count < 1 or not self._traces:
            return []
        return draw(self._wrong[: len(self._traces)], count, self._generator)

    def learn(self, places: Sequence[int], exact: Sequence[float]) -> None:
        """What share of the decisions of each trace that was drawn was answered right."""
        for place, share in zip(places, exact, strict=True):
            self._wrong[place] = 1.0 - share

    def state(self) -> bytes:
        """Everything, as msgpack."""
        generator = self._generator.bit_generator.state
        payload: bytes = msgpack.packb(
            {
                "schema": _SCHEMA,
                "name": self._name,
                "capacity": self.capacity,
                "seen": self.seen,
                "generator": {
                    "state": f"{generator['state']['state']:x}",
                    "increment": f"{generator['state']['inc']:x}",
                    "has_half": int(generator["has_uint32"]),
                    "half": int(generator["uinteger"]),
                },
                "traces": [encode(trace) for trace in self._traces],
                "wrong": self._wrong[: len(self._traces)].tolist(),
            }
        )
        return payload

    def load_state(self, payload: bytes) -> None:
        """Go on from a state. A smaller capacity than the state's keeps a uniform part of it.

        Raises LearnerError where the bytes are no such state.
        """
        try:
            values: Any = msgpack.unpackb(payload)
            if values["schema"] != _SCHEMA or values["name"] != self._name:
                raise LearnerError(
                    f"the reservoir's state is of schema {values['schema']!r} and name "
                    f"{values['name']!r}, not of schema {_SCHEMA} and name {self._name!r}"
                )
            traces = [decode(Trace, item) for item in values["traces"]]
            wrong = np.array(values["wrong"], dtype=np.float64)
            if wrong.shape != (len(traces),) or not ((wrong >= 0) & (wrong <= 1)).all():
                raise LearnerError("the reservoir's state is damaged: 'wrong' must be shares")
            saved = values["generator"]
            self._generator.bit_generator.state = {
                "bit_generator": "PCG64",
                "state": {"state": int(saved["state"], 16), "inc": int(saved["increment"], 16)},
                "has_uint32": saved["has_half"],
                "uinteger": saved["half"],
            }
            self.seen = int(values["seen"])
        except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
            raise LearnerError(f"these bytes are no reservoir's state: {error!r}") from error
        except NesyprError as error:
            raise LearnerError(f"the reservoir's state cannot be used: {error}") from error
        if len(traces) > self.capacity:
            chosen = self._generator.choice(len(traces), size=self.capacity, replace=False)
            traces, wrong = [traces[int(position)] for position in chosen], wrong[chosen]
        self._traces = traces
        self._wrong = np.ones(self.capacity)
        self._wrong[: len(wrong)] = wrong
