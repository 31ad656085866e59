"""Standard output of a run: a run must not break off because nobody looks any more."""

from __future__ import annotations

import errno
import os
import sys
from typing import IO, Any, cast

from rich.console import Console

READER_GONE = (errno.EPIPE, errno.EIO)
"""What writing to a closed pipe, or to a terminal that hung up, raises."""


class SurvivingStream:
    """A text stream that falls silent when its reader is gone; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or say nothing where nobody reads."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing where nobody reads."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        """From now on everything goes to /dev/null; errors of another kind are raised again."""
        if error.errno not in READER_GONE:
            raise error
        silence(self._stream)


def silence(stream: IO[str]) -> None:
    """Let the stream's file descriptor lead to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def run_console() -> Console:
    """The console on which a run shows itself."""
    return Console(file=cast(IO[str], SurvivingStream(sys.stdout)))
