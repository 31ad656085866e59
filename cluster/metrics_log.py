"""`metrics.jsonl`: one event a line, appended; what each line holds is in `docs/metrics.md`.

Lines of episodes are kept back for at most `FLUSH_S`; every other event is written at once. A
line that a killed run left half written is cut off when the log is opened again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from cluster.observer import EpisodeFinished, Event, Planned
from cluster.run_folder import RunFolderError, writing

FLUSH_S = 1.0

EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
"""Makes an event of a line's keys, without `time` and `at`."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as read back: when it happened, in Unix time and in seconds of the run."""

    time: float
    seconds: float
    event: Event


class MetricsLog:
    """The observer that writes `metrics.jsonl`. Raises RunFolderError where it cannot."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._kept_since: float | None = None
        _cut_half_line(path)
        with writing(path):
            # Unbuffered, with our own list of kept lines: after a full disk nothing is left that
            # closing would try to write again.
            self._file = path.open("ab", buffering=0)
        self._kept: list[bytes] = []

    def observe(self, event: Event, seconds: float) -> None:
        """Append the event."""
        now = self._clock()
        stamp = f'{{"time":{now:.3f},"at":{seconds:.3f},'.encode()
        self._kept.append(stamp + EVENT.dump_json(event)[1:] + b"\n")
        if self._kept_since is None:
            self._kept_since = now
        frequent = isinstance(event, EpisodeFinished | Planned)
        if not frequent or now - self._kept_since >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what is kept back."""
        data, self._kept, self._kept_since = memoryview(b"".join(self._kept)), [], None
        with writing(self.path):
            while data:
                data = data[self._file.write(data) :]

    def close(self) -> None:
        """Write what is kept back and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def read_metrics(path: Path) -> Iterator[LoggedEvent]:
    """The events of a log, in order; none if the file is absent.

    A half-written last line is passed over; any other line that is not an event raises
    RunFolderError with its number.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                values = json.loads(line)
                stamp, seconds = float(values.pop("time")), float(values.pop("at"))
                yield LoggedEvent(stamp, seconds, EVENT.validate_python(values))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                words = _words(error)
                raise RunFolderError(f"{path}, line {number} is not an event: {words}") from error


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(key) for key in first['loc'])}: {first['msg']}"
    return f"{type(error).__name__} {error}"


def _cut_half_line(path: Path) -> None:
    """Cut off what follows the last line break."""
    if not path.exists():
        return
    with writing(path), path.open("rb+") as file:
        size = end = file.seek(0, 2)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
