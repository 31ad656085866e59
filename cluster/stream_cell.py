"""A cell of a study that learns a stream: plan once, learn in a process of its own, read looks."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cluster.grid_cells import difference, made_on
from cluster.stream_process import STATE_FILE
from cluster.stream_rows import Look, PhaseSpan, StreamResult, StreamSetting
from cluster.studies import Tell
from cluster.study_steps import digest_of, teach
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from configs.study_schema import Measuring
from learner.errors import LearnerError
from learner.trace_file import read_traces, write_traces
from tasks.stream import TaskStream

SILENCE_S = 600.0
"""Seconds without a look or a sign of life after which the process is ended."""

FORMAT = 1
"""Of the results, and of what learning does; another one is another configuration."""


@dataclass(frozen=True, slots=True)
class PlannedStream:
    """A stream, and the file with the traces of its tasks."""

    stream: TaskStream
    file: Path
    traces: int

    @property
    def phases(self) -> tuple[PhaseSpan, ...]:
        """The stream's phases, for the result."""
        return tuple(
            PhaseSpan(name=phase.name, start=phase.start, stop=phase.stop, domains=phase.domains)
            for phase in self.stream.phases
        )


def plan_stream(config: RunConfig, processes: int, folder: Path, tell: Tell) -> PlannedStream:
    """Plan for all tasks of the configuration's own stream; plans are kept in the folder."""
    stream = TaskStream(config.stream, config.seed)
    digest = digest_of(
        {
            "seed": config.seed,
            "stream": config.stream.model_dump(mode="json"),
            "rendering": config.rendering.model_dump(mode="json"),
            "teacher": config.teacher.model_dump(mode="json", exclude={"processes"}),
        }
    )
    path = folder / f"plans-{digest}.bin"
    if path.is_file():
        traces = len(read_traces(path))
        tell(f"{traces} plans were made before: {path}")
        return PlannedStream(stream, path, traces)
    folder.mkdir(parents=True, exist_ok=True)
    found = teach(stream, config, processes, tell)
    write_traces(path.with_suffix(".partial"), found)
    path.with_suffix(".partial").replace(path)
    return PlannedStream(stream, path, len(found))


def stream_settings(config: RunConfig, measuring: Measuring, stream_seed: int) -> dict[str, Any]:
    """Everything that a result hangs on; tasks and names are drawn by the stream's seed."""
    return {
        "format": FORMAT,
        "stream_seed": stream_seed,
        "seed": config.seed,
        "measuring": measuring.model_dump(mode="json"),
        **{
            section: getattr(config, section).model_dump(mode="json")
            for section in ("stream", "rendering", "model", "acting", "distillation")
        },
        "bank": config.shared_memory.bank.model_dump(mode="json"),
        "teacher": config.teacher.model_dump(mode="json", exclude={"processes"}),
    }


def learn_stream(
    kind: str,
    values: dict[str, Any],
    config: RunConfig,
    measuring: Measuring,
    planned: PlannedStream,
    stream_seed: int,
    folder: Path,
    tell: Tell,
) -> StreamResult:
    """Learn the stream with one model, or go on with it where `folder` has its state.

    ConfigurationError where that state is of another configuration, and LearnerError where the
    process fails or falls silent.
    """
    setting = StreamSetting(
        config=config,
        stream_seed=stream_seed,
        measuring=measuring,
        plans=str(planned.file),
        folder=str(folder),
    )
    settings = stream_settings(config, measuring, stream_seed)
    file = _setting_file(setting, settings)
    looks: list[Look] = []

    def on_line(line: bytes) -> None:
        looks.append(Look.model_validate_json(line))
        tell(_line(looks[-1], len(planned.stream)))

    run_module("cluster.stream_process", str(file), on_line, SILENCE_S)
    machine, versions = made_on()
    return StreamResult(
        kind=kind,
        seed=config.seed,
        digest=digest_of(settings),
        settings=settings,
        values=values,
        phases=planned.phases,
        looks=tuple(looks),
        traces=planned.traces,
        hardware=machine,
        versions=versions,
    )


def _setting_file(setting: StreamSetting, settings: dict[str, Any]) -> Path:
    """The setting as a file for the process; a state of other settings is refused."""
    folder = Path(setting.folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "settings.json"
    if (folder / STATE_FILE).is_file():
        before = json.loads(known.read_text(encoding="utf-8"))
        if digest_of(before) != digest_of(settings):
            raise ConfigurationError(
                f"{folder} holds a model that another configuration began "
                f"({difference(before, settings)}): remove it to begin anew, or choose another "
                "folder with --out"
            )
    known.write_text(json.dumps(settings), encoding="utf-8")
    file = folder / "process.json"
    file.write_text(setting.model_dump_json(), encoding="utf-8")
    return file


def run_module(
    module: str, argument: str, on_line: Callable[[bytes], None], silence_s: float
) -> None:
    """Run `python -m MODULE ARGUMENT` with one thread and pass on each line that it prints.

    LearnerError with its last words where it fails, or where no line comes for so long. It does
    not outlive this call.
    """
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [sys.executable, "-m", module, argument],
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        assert process.stdout is not None
        try:
            _pass_on(process.stdout, on_line, silence_s)
            code = process.wait(timeout=60.0)
        finally:
            process.kill()
        if code:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise LearnerError(
                f"{module} failed (exit code {code}): {said[-1] if said else 'it said nothing'}"
            )


def _pass_on(output: IO[bytes], on_line: Callable[[bytes], None], silence_s: float) -> None:
    heard, text = time.monotonic(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            left = heard + silence_s - time.monotonic()
            if left <= 0:
                raise LearnerError(f"the learning process was silent for {silence_s:.0f} s")
            if not selector.select(left):
                continue
            data = os.read(output.fileno(), 1 << 16)
            if not data:
                return
            heard = time.monotonic()
            *lines, text = (text + data).split(b"\n")
            for line in filter(None, lines):  # an empty one is a sign of life
                on_line(line)


def _line(look: Look, tasks: int) -> str:
    begun = [probe for probe in look.probes if probe.exchanged is not None]
    solved = "–"
    if begun:
        solved = f"{sum(p.solved for p in begun) / sum(p.tasks for p in begun):.0%}"
    codes = "–" if look.old is None else f"{look.old.used}, error {look.old.error:.3f}"
    loss = "–" if look.loss is None else f"{look.loss:.3f}"
    return (
        f"{look.tasks}/{tasks} tasks, {look.steps} steps, loss {loss}, codes {codes}, CSR of the "
        f"phases so far {solved}, {look.seconds:.0f} s"
    )
