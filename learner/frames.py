"""Frames between the teacher's parent and its child processes: a length, then msgpack.

Both ends are this program; lengths are capped all the same, so that a child that prints into its
pipe by mistake is refused and not waited for.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

from learner.errors import LearnerError

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")


def pack_frame(value: Any) -> bytes:
    """The value (plain msgpack types) as one frame."""
    payload: bytes = msgpack.packb(value)
    return _LENGTH.pack(len(payload)) + payload


class FrameBuffer:
    """Collects bytes as they come and hands out complete frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._bytes)

    def feed(self, data: bytes) -> list[Any]:
        """Add bytes; the values of all frames that are now complete.

        Raises LearnerError where a length is past the limit or a payload is not msgpack.
        """
        self._bytes += data
        values: list[Any] = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_FRAME:
                raise LearnerError(
                    f"a teacher process sent a frame of {length} bytes (at most {MAX_FRAME} are "
                    "allowed): something else writes to its pipe"
                )
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            payload = bytes(self._bytes[_LENGTH.size : end])
            del self._bytes[:end]
            try:
                values.append(msgpack.unpackb(payload))
            except (msgpack.UnpackException, ValueError) as error:
                raise LearnerError(f"a teacher process sent a malformed frame: {error}") from error
        return values
