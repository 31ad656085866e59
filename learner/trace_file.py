"""Traces in a file, for the processes that distil together: frames of msgpack, no pickle.

A last frame holds how many traces there are, so that a file that was cut is known as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learner.errors import LearnerError
from learner.frames import FrameBuffer, pack_frame
from shared_memory.codec import decode, encode
from shared_memory.errors import SharedMemoryError
from shared_memory.records import Trace


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write traces; how many there were."""
    count = 0
    with path.open("wb") as file:
        for trace in traces:
            file.write(pack_frame(encode(trace)))
            count += 1
        file.write(pack_frame(count))
    return count


def read_traces(path: Path) -> list[Trace]:
    """Read what `write_traces` wrote. `LearnerError` where the file is cut or damaged."""
    buffer = FrameBuffer()
    frames: list[Any] = []
    try:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                frames += buffer.feed(data)
        if buffer.pending or not frames or frames[-1] != len(frames) - 1:
            raise LearnerError("it is cut: its last frame does not count the traces before it")
        return [decode(Trace, payload) for payload in frames[:-1]]
    except (LearnerError, SharedMemoryError, TypeError) as error:
        raise LearnerError(f"the trace file {path} is damaged: {error}") from error
