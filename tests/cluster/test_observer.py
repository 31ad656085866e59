from __future__ import annotations

import pytest

from cluster.observer import Alarm, Event, Observers


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.seen: list[tuple[str, float]] = []
        self.closed = False
        self._error = error

    def observe(self, event: Event, seconds: float) -> None:
        self.seen.append((event.event, seconds))

    def close(self) -> None:
        self.closed = True
        if self._error:
            raise self._error


def test_every_observer_gets_every_event_at_run_time() -> None:
    now = [100.0]
    first, second = Recorder(), Recorder()
    observers = Observers([first, second], elapsed=30.0, clock=lambda: now[0])
    now[0] = 102.5
    observers.emit(Alarm(kind="stall", message="nobody waits"))
    assert first.seen == second.seen == [("alarm", 32.5)]


def test_all_are_closed_before_the_first_error_is_raised() -> None:
    broken, last = Recorder(OSError("full")), Recorder()
    with pytest.raises(OSError, match="full"):
        Observers([broken, last]).close()
    assert last.closed
