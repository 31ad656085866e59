"""`nesypr watch`: a run's progress from another shell, as the run itself shows it."""

from __future__ import annotations

import time

from pydantic import ValidationError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.dashboard.tail import Tail
from cluster.metrics_log import EVENT
from cluster.observer import Alarm, Event
from cluster.progress import LINE_EVERY_S, Standing, clock, event_line, panel, standing_line
from cluster.run_folder import RunFolder

LOOK_EVERY_S = 0.5
BUDGET_S = 0.2


class Watch:
    """A run's log read from another process; what was before is taken in without words."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.standing = Standing()
        self._tail = Tail(folder.metrics_file)
        while self._read():
            pass

    def news(self) -> list[tuple[float, Event]]:
        """The events since the last look that deserve words, with their seconds."""
        return [(seconds, event) for seconds, event in self._read() if event_line(event)]

    @property
    def going_on(self) -> bool:
        """Whether the run's process is there."""
        return self.folder.state() == "running"

    def _read(self) -> list[tuple[float, Event]]:
        found: list[tuple[float, Event]] = []
        for _, values in self._tail.lines(BUDGET_S):
            try:
                values.pop("time")
                seconds = float(values.pop("at"))
                event = EVENT.validate_python(values)
            except (KeyError, TypeError, ValueError, ValidationError):
                continue  # of another version of the program
            self.standing.update(event, seconds)
            found.append((seconds, event))
        return found


def watch(folder: RunFolder, console: Console) -> None:
    """Show the run until it ends or Ctrl-C: a panel in a terminal, lines elsewhere."""
    seen = Watch(folder)
    if console.is_terminal:
        with Live(
            get_renderable=lambda: panel(seen.standing), console=console, refresh_per_second=2
        ) as live:
            while _told(seen, live.console):
                time.sleep(LOOK_EVERY_S)
        _tell_end(seen, console)
        return
    printed = float("-inf")
    while True:
        going_on = _told(seen, console)
        if time.monotonic() - printed >= LINE_EVERY_S or not going_on:
            printed = time.monotonic()
            line = f"[{clock(seen.standing.seconds)}] {standing_line(seen.standing)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not going_on:
            _tell_end(seen, console)
            return
        time.sleep(LOOK_EVERY_S)


def _told(seen: Watch, console: Console) -> bool:
    """Tell what is new; whether the run went on before that."""
    going_on = seen.going_on
    for seconds, event in seen.news():
        style = "yellow" if isinstance(event, Alarm) else "dim"
        console.print(Text(f"[{clock(seconds)}] {event_line(event)}", style=style))
    return going_on


def _tell_end(seen: Watch, console: Console) -> None:
    console.print(f"{seen.folder.name}: {seen.folder.state()}", markup=False, highlight=False)
