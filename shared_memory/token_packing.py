"""Token numbers as bytes, in as few as they need, and back."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Sequence

import numpy as np

from shared_memory.errors import SharedMemoryError

MAX_TOKENS = 65_536
_TOKEN_WIDTHS = (1, 2, 4)
_DEFLATED = 4
"""Bit of the first byte of packed tokens; the bits below it choose the width of one token."""
WORTH_DEFLATING = 48
"""Bytes of tokens from which on deflating them is tried."""
WORTH_DEFLATING_PROMPTS = 1024
"""Bytes of an episode's prompts from which on deflating them is worth a writer's time."""


def _token_kind(most: int) -> int:
    if not most < 2**31:
        raise OverflowError
    return (most >= 2**8) + (most >= 2**16)


def _token_array(kind: int, tokens: Sequence[int]) -> bytes:
    numbers = array("H" if kind == 1 else "I", tokens)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def pack_tokens(tokens: Sequence[int], worth_deflating: int = WORTH_DEFLATING) -> bytes:
    """Token numbers as bytes: one, two or four each, deflated where that is shorter and they
    take at least so many."""
    if not tokens:
        return b""
    try:
        kind = _token_kind(max(tokens))
        plain = bytes(tokens) if kind == 0 else _token_array(kind, tokens)
    except (TypeError, ValueError, OverflowError) as error:
        raise SharedMemoryError(
            f"prompt_tokens must be whole numbers from 0 to {2**31 - 1}"
        ) from error
    if len(plain) >= worth_deflating:
        deflated = zlib.compress(plain, 1)
        if len(deflated) < len(plain):
            return bytes([kind | _DEFLATED]) + deflated
    return bytes([kind]) + plain


def unpack_tokens(payload: bytes) -> tuple[int, ...]:
    """The inverse of `pack_tokens`; whatever the bytes are, no more than the limit is inflated."""
    if not payload:
        return ()
    kind, body = payload[0] & ~_DEFLATED, payload[1:]
    if kind >= len(_TOKEN_WIDTHS):
        raise SharedMemoryError("prompt_tokens are not packed tokens")
    width = _TOKEN_WIDTHS[kind]
    if payload[0] & _DEFLATED:
        inflater = zlib.decompressobj()
        try:
            body = inflater.decompress(body, width * MAX_TOKENS + 1)
        except zlib.error as error:
            raise SharedMemoryError(f"prompt_tokens are not packed tokens: {error}") from error
        if not inflater.eof or inflater.unused_data:
            raise SharedMemoryError(f"prompt_tokens are cut short, or more than {MAX_TOKENS}")
    if len(body) % width or len(body) > width * MAX_TOKENS:
        raise SharedMemoryError(f"prompt_tokens must be at most {MAX_TOKENS} packed tokens")
    tokens = np.frombuffer(body, dtype=f"<u{width}")
    if tokens.size and int(tokens.max()) >= 2**31:
        raise SharedMemoryError(f"prompt_tokens must be whole numbers from 0 to {2**31 - 1}")
    found: tuple[int, ...] = tuple(tokens.tolist())
    return found
