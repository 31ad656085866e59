"""What one sees while a run goes on: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.observer import (
    Alarm,
    BankMeasured,
    EpisodeFinished,
    Event,
    FleetChanged,
    PhaseFinished,
    PhaseStarted,
    Probed,
    ResourcesMeasured,
    RunFinished,
    RunObserver,
    RunStarted,
    VersionPublished,
)

LINE_EVERY_S = 5.0
DRAWS_PER_S = 2
WINDOW = 100
"""Tasks over which CSR is averaged."""

RATE_S = 30.0
"""Seconds of acting over which the rate is measured: tasks come in batches."""


def make_display(console: Console) -> RunObserver:
    """A live panel where the console is a terminal, plain lines elsewhere."""
    return LivePanel(console) if console.is_terminal else PlainLines(console)


class Standing:
    """Where the run stands: what both displays show."""

    def __init__(self) -> None:
        self.name = ""
        self.tasks = 0
        self.done = 0
        self.phase = "starting"
        self.phases = 0
        self.version = 0
        self.codes = 0
        self.codes_used = 0
        self.codes_dead = 0
        self.perplexity: float | None = None
        self.loss: float | None = None
        self.success_entries = 0
        self.failure_entries = 0
        self.total_mb: float | None = None
        self.seconds = 0.0
        self._updated = time.monotonic()
        self.probes: dict[int, dict[str, float]] = {}  # phase -> mode -> latest CSR
        self.alarm = ""
        self.ended = ""
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._ticks: deque[tuple[float, int]] = deque()

    def update(self, event: Event, seconds: float) -> None:
        """Take an event."""
        self.seconds = seconds
        self._updated = time.monotonic()
        match event:
            case RunStarted():
                self.name, self.tasks, self.done = event.name, event.tasks, event.episodes_done
                self.codes, self.version = event.codes, event.version
            case PhaseStarted():
                self.phase, self.phases = f"{event.phase + 1} {event.name}", event.phase + 1
                self._ticks.clear()
                self._ticks.append((seconds, self.done))
            case EpisodeFinished():
                self.done += 1
                self._recent.append(event.success)
                self._tick(seconds)
            case VersionPublished():
                self.version, self.loss = event.version, event.loss
                self.codes_used, self.codes_dead = event.codes_used, event.codes_dead
                self.perplexity = event.perplexity
            case BankMeasured():
                self.success_entries = _entries(event, "success")
                self.failure_entries = _entries(event, "failure")
            case Probed():
                self.probes.setdefault(event.phase, {})[event.mode] = event.csr.value
            case ResourcesMeasured():
                self.total_mb = event.total_mb
            case Alarm():
                self.alarm = event.message
            case RunFinished():
                self.ended = event.outcome
            case _:
                pass

    @property
    def now(self) -> float:
        """Seconds of the run by now: those of the last event and what passed since."""
        return self.seconds + time.monotonic() - self._updated

    @property
    def csr(self) -> float | None:
        """CSR of the last tasks of the stream."""
        return sum(self._recent) / len(self._recent) if self._recent else None

    @property
    def rate(self) -> float | None:
        """Tasks a second of acting, lately in this phase."""
        if len(self._ticks) < 2:
            return None
        (start, first), (end, last) = self._ticks[0], self._ticks[-1]
        return (last - first) / (end - start) if end > start else None

    def _tick(self, seconds: float) -> None:
        if len(self._ticks) > 1 and self._ticks[-1][0] == seconds:
            self._ticks.pop()
        self._ticks.append((seconds, self.done))
        while len(self._ticks) > 2 and self._ticks[1][0] < seconds - RATE_S:
            self._ticks.popleft()

    @property
    def left_s(self) -> float | None:
        """Seconds of acting that are left, at the present rate."""
        return (self.tasks - self.done) / self.rate if self.rate else None


class PlainLines:
    """The observer that prints a line every few seconds, and one for each probe and alarm."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._standing = Standing()
        self._printed = float("-inf")

    def observe(self, event: Event, seconds: float) -> None:
        """Take an event, and print a line if it is time."""
        self._standing.update(event, seconds)
        words = event_line(event)
        if words:
            self._print(f"[{clock(seconds)}] {words}")
        elif seconds - self._printed >= LINE_EVERY_S:
            self._printed = seconds
            self._print(f"[{clock(seconds)}] {standing_line(self._standing)}")

    def close(self) -> None:
        """Nothing is held."""

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LivePanel:
    """The observer that keeps a panel in the terminal; probes and alarms scroll above it."""

    def __init__(self, console: Console) -> None:
        self._standing = Standing()
        self._live = Live(
            get_renderable=lambda: panel(self._standing),
            console=console,
            refresh_per_second=DRAWS_PER_S,
        )
        self._live.start()

    def observe(self, event: Event, seconds: float) -> None:
        """Take an event."""
        self._standing.update(event, seconds)
        words = event_line(event)
        if words:
            style = "yellow" if isinstance(event, Alarm) else "dim"
            self._live.console.print(Text(f"[{clock(seconds)}] {words}", style=style))

    def close(self) -> None:
        """Draw once more and leave the terminal as it was."""
        self._live.stop()


def event_line(event: Event) -> str:
    """The words for an event that deserves a line of its own; "" for the others."""
    match event:
        case RunStarted():
            verb = "goes on" if event.resumed else "starts"
            return (
                f"{event.name} {verb}: {event.tasks} tasks, small LM of "
                f"{event.parameters / 1e6:.2f} M parameters, {event.codes} codes, seed {event.seed}"
            )
        case PhaseStarted():
            return f"phase {event.phase + 1} {event.name}: {event.tasks} tasks"
        case Probed():
            when = f"after phase {event.after_phase + 1}" if event.after_phase >= 0 else "untrained"
            return (
                f"probe of phase {event.phase + 1}, {when}, {event.mode}: CSR "
                f"{percent(event.csr.value)} ({percent(event.csr.low)} to "
                f"{percent(event.csr.high)}, {event.tasks} tasks)"
            )
        case Alarm():
            return f"alarm: {event.message}"
        case FleetChanged():
            return f"actors: {event.message}"
        case PhaseFinished():
            return f"phase {event.phase + 1} finished in {event.seconds:.0f} s"
        case RunFinished():
            closes = "the accounting closes" if event.accounting.closes else "ACCOUNTING OPEN"
            return f"{event.outcome} at version {event.version}; {closes}"
        case _:
            return ""


def standing_line(standing: Standing) -> str:
    """Where the run stands, in one line."""
    if not standing.name:
        return "starting: shared memory, Ray, learner and actors"
    parts = [
        f"phase {standing.phase}",
        f"{standing.done}/{standing.tasks} tasks",
        f"CSR {percent(standing.csr)}",
        f"M+ {standing.success_entries} M- {standing.failure_entries}",
        f"codes {standing.codes_used} used {standing.codes_dead} dead",
        f"perplexity {number(standing.perplexity)}",
        f"version {standing.version}",
        f"{number(standing.rate)} tasks/s",
        f"{duration(standing.left_s)} left",
    ]
    return ", ".join(parts)


def panel(standing: Standing) -> Panel:
    """Where the run stands, as a panel for a terminal of any width."""
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(2):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(no_wrap=True)
    rows = [
        ("phase", standing.phase, "tasks", f"{standing.done} of {standing.tasks}"),
        (f"CSR (last {WINDOW})", percent(standing.csr), "version", str(standing.version)),
        ("M+ entries", str(standing.success_entries), "codes used", _codes(standing)),
        ("M- entries", str(standing.failure_entries), "codes dead", str(standing.codes_dead)),
        ("perplexity", number(standing.perplexity), "loss", number(standing.loss, 3)),
        ("tasks/s", number(standing.rate), "memory", _memory(standing.total_mb)),
        ("time", clock(standing.now), "time left", duration(standing.left_s)),
    ]
    for row in rows:
        table.add_row(*row)
    bar = Table.grid(expand=True)  # the bar alone does not end its line
    bar.add_row(ProgressBar(total=max(1, standing.tasks), completed=standing.done))
    parts: list[Text | Table] = [table, bar]
    if standing.probes:
        words = [
            f"{phase + 1}: {' / '.join(percent(csr) for csr in modes.values())}"
            for phase, modes in sorted(standing.probes.items())
        ]
        modes = " / ".join(next(iter(standing.probes.values())))
        parts.append(Text(f"probes, CSR {modes} - {', '.join(words)}", style="green"))
    if standing.alarm:
        parts.append(Text(standing.alarm, style="yellow"))
    title = f"nesypr {standing.name}" + (f" - {standing.ended}" if standing.ended else "")
    return Panel(Group(*parts), title=Text(title), expand=True)


def percent(share: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"


def number(value: float | None, digits: int = 1) -> str:
    """A number; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def clock(seconds: float) -> str:
    """Seconds as minutes:seconds or hours:minutes:seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def duration(seconds: float | None) -> str:
    """A time span in words; a dash where there is none."""
    return "-" if seconds is None else clock(seconds)


def _entries(event: BankMeasured, sign: str) -> int:
    return sum(bank.entries for bank in event.banks if bank.sign == sign)


def _codes(standing: Standing) -> str:
    return f"{standing.codes_used} of {standing.codes}"


def _memory(total_mb: float | None) -> str:
    return "-" if total_mb is None else f"{total_mb / 1024:.2f} GiB"
