"""Keep a C++ library from writing to this process's standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STDOUT = 1


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Send file descriptor 1 to /dev/null for a while.

    Python's own `sys.stdout` writes there too, so that other threads' prints in that time are
    lost: keep it short.
    """
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, _STDOUT)
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(sink)
        os.close(kept)
