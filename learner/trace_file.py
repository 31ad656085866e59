"""Traces in a file, for the processes that distil together: frames of msgpack, no pickle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from learner.errors import LearnerError
from learner.frames import FrameBuffer, pack_frame
from shared_memory.codec import decode, encode
from shared_memory.records import Trace


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write traces; how many there were."""
    count = 0
    with path.open("wb") as file:
        for trace in traces:
            file.write(pack_frame(encode(trace)))
            count += 1
    return count


def read_traces(path: Path) -> list[Trace]:
    """Read what `write_traces` wrote. `LearnerError` where the file is cut or damaged."""
    buffer = FrameBuffer()
    traces: list[Trace] = []
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            traces += [decode(Trace, payload) for payload in buffer.feed(data)]
    if buffer.pending:
        raise LearnerError(
            f"the trace file {path} is cut: its last {buffer.pending} bytes are no whole trace"
        )
    return traces
