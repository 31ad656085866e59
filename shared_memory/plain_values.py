"""Numbers and names that stand on the server as they are: whoever wrote them, they are checked."""

from __future__ import annotations

from shared_memory.errors import SharedMemoryError

_MOST = 2**63


def whole(value: bytes | int | str | None, what: str) -> int:
    """A whole number from -2^63 to 2^63; nothing is 0. Raises SharedMemoryError."""
    try:
        number = int(value or 0) if not isinstance(value, bytes) or len(value) <= 20 else _MOST
    except ValueError:
        number = _MOST
    if not -_MOST <= number < _MOST:
        raise SharedMemoryError(f"{what} on the server is no number: it is damaged")
    return number


def text(value: bytes, what: str) -> str:
    """UTF-8 text. Raises SharedMemoryError."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise SharedMemoryError(f"{what} on the server is no text: it is damaged") from error
