"""The one place where a simulator is called, so that what it does wrong costs one episode.

Whatever a simulator raises, and a call that does not come back within the deadline, becomes a
`SimulatorError`. A thread watches the clock and interrupts the caller at its next Python
instruction. A call that hangs in foreign code cannot be interrupted so; then the actor's request
passes its own deadline, the actor is replaced, and a task that has cost several actors is given
up (`cluster.dispatcher`).
"""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from actors.errors import ActingError

LONGEST_REASON = 500
"""Characters of a reason that an episode keeps."""

_LOOKS_A_DEADLINE = 8
_MOST_BETWEEN_LOOKS_S = 1.0

_T = TypeVar("_T")


class SimulatorError(ActingError):
    """A simulator raised something or did not come back in time; the message says what."""


class _OutOfTimeError(BaseException):
    """Interrupts a call; no `Exception`, so that a simulator does not take it for one of its."""


class Guard:
    """Calls simulators from one thread at a time, each call within `deadline_s` seconds."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._lock = threading.Lock()
        self._since: float | None = None  # when the call that runs began
        self._thread = 0
        self._watched = False

    def call(self, work: Callable[[], _T]) -> _T:
        """What `work` returns; SimulatorError for all it raises but KeyboardInterrupt, and late."""
        if not self._watched:
            self._watched = True
            threading.Thread(target=_watch, args=(weakref.ref(self),), daemon=True).start()
        try:
            try:
                self._thread = threading.get_ident()
                self._since = time.monotonic()
                return work()
            finally:
                self._leave()
        except _OutOfTimeError:
            self._leave()
            raise SimulatorError(
                f"the simulator did not come back within {self.deadline_s:g} s"
            ) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise SimulatorError(words[:LONGEST_REASON]) from error

    def look(self) -> None:
        """Interrupt the call that runs if it is past its time; called by the watching thread."""
        with self._lock:
            if self._since is not None and time.monotonic() - self._since > self.deadline_s:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(_OutOfTimeError)
                )

    def _leave(self) -> None:
        """From here on nothing is interrupted; an interruption under way is raised in here."""
        with self._lock:
            self._since = None
        for _ in range(2):  # the interpreter looks for interruptions where a loop jumps back
            pass


def _watch(guard: weakref.ref[Guard]) -> None:
    """Look at the clock for as long as the guard is in use."""
    while (found := guard()) is not None:
        found.look()
        pause = min(found.deadline_s / _LOOKS_A_DEADLINE, _MOST_BETWEEN_LOOKS_S)
        del found
        time.sleep(pause)
