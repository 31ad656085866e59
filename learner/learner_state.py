"""What a learner's checkpoint keeps beside the student and the reservoir: counters, and traces that
were in no batch yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from learner.errors import LearnerError
from learner.student import RoundStatistics
from shared_memory.codec import decode, encode
from shared_memory.errors import SharedMemoryError
from shared_memory.queues import Ticket
from shared_memory.records import Trace

FILE = "learner.msgpack"


@dataclass(frozen=True, slots=True)
class LearnerState:
    """Where a learner stands. `tickets`: of the traces that the checkpoint holds; `learned`: what
    a round gave that is through, but not published (in a reproducible run)."""

    run: str
    version: int = -1
    round_steps: int = 0
    round_new: int = 0
    round_replayed: int = 0
    steps: int = 0
    traces_taken: int = 0
    new: tuple[Trace, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    learned: RoundStatistics | None = None

    def pack(self) -> bytes:
        """As a checkpoint's file."""
        values = {
            "run": self.run,
            "version": self.version,
            "round_steps": self.round_steps,
            "round_new": self.round_new,
            "round_replayed": self.round_replayed,
            "steps": self.steps,
            "traces_taken": self.traces_taken,
            "new": [encode(trace) for trace in self.new],
            "tickets": [list(ticket) for ticket in self.tickets],
            "learned": None if self.learned is None else asdict(self.learned),
        }
        packed: bytes = msgpack.packb(values)
        return packed

    @classmethod
    def unpack(cls, payload: bytes) -> LearnerState:
        """From a checkpoint's file. Raises LearnerError where it is none."""
        try:
            values: Mapping[str, Any] = msgpack.unpackb(payload)
            learned = values.get("learned")
            return cls(
                run=values["run"],
                version=int(values["version"]),
                round_steps=int(values["round_steps"]),
                round_new=int(values["round_new"]),
                round_replayed=int(values["round_replayed"]),
                steps=int(values["steps"]),
                traces_taken=int(values["traces_taken"]),
                new=tuple(decode(Trace, trace) for trace in values["new"]),
                tickets=tuple(Ticket(domain, entry) for domain, entry in values["tickets"]),
                learned=None if learned is None else RoundStatistics(**learned),
            )
        except (
            *(KeyError, TypeError, ValueError, AttributeError),
            *(msgpack.UnpackException, SharedMemoryError),
        ) as error:
            raise LearnerError(f"{FILE} is not what this program writes ({error!r})") from error
