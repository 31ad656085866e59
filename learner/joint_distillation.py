"""Distilling one model in several processes of one machine, without Ray and without Redis.

Each process computes the gradient of a batch of its own on one core; the sum moves the weights,
and counts and vectors of all batches move the one procedure-book (model.peers). Batches are drawn
anew from all traces, more from the domains that are answered worst.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from configs.schema import DistillationConfig, ModelConfig, RenderingConfig
from learner.errors import LearnerError
from learner.trace_file import write_traces
from shared_memory.records import Trace

SILENCE_S = 300.0
"""Seconds without a sign of life after which the processes are ended."""

LOOK_EVERY_S = 0.2

GRACE_S = 3.0
"""How long the others may take to fail as well, once one has: theirs may be the true cause."""


class JointSetting(BaseModel):
    """All that a process needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domains: tuple[str, ...]
    rendering: RenderingConfig
    model: ModelConfig
    distillation: DistillationConfig
    seed: int
    processes: int
    folder: str
    """Where the processes meet: holds the traces, and the model at the end."""
    report_every: int = 50


@dataclass(frozen=True, slots=True)
class JointProgress:
    """A sign of life of the first process, over the steps since the last."""

    step: int
    seconds: float
    loss: float
    tokens: int  # since the beginning, over all processes
    exact: dict[str, float]  # by domain, teacher-forced: running means
    codes_used: int
    perplexity: float
    quantisation_error: float


def distil_together(
    traces: Sequence[Trace],
    setting: JointSetting,
    on_progress: Callable[[JointProgress], None] | None = None,
) -> bytes:
    """Distil `distillation.total_steps` steps; the model, its averaged weights, as bytes.

    `LearnerError` where a process ends early or falls silent.
    """
    folder = Path(setting.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).unlink(missing_ok=True)  # or an earlier one could be taken for ours
    write_traces(folder / TRACES_FILE, traces)
    with _processes(setting) as started:
        _follow(started, on_progress)
    return (folder / MODEL_FILE).read_bytes()


TRACES_FILE = "traces.bin"
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class _Started:
    process: subprocess.Popen[bytes]
    complaints: IO[bytes]


@contextmanager
def _processes(setting: JointSetting) -> Iterator[list[_Started]]:
    """The processes, running; none of them is left behind."""
    meeting = Path(setting.folder) / f"meeting-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started: list[_Started] = []
    try:
        for rank in range(setting.processes):
            complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "learner.joint_process",
                    setting.model_dump_json(),
                    str(rank),
                    str(meeting),
                ],
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=complaints,
                env=environment,
            )
            started.append(_Started(process, complaints))
        yield started
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait(timeout=30.0)
            if one.process.stdout is not None:
                one.process.stdout.close()
            one.complaints.close()
        meeting.unlink(missing_ok=True)


def _follow(
    started: Sequence[_Started], on_progress: Callable[[JointProgress], None] | None
) -> None:
    """Pass signs of life on until all processes have ended well."""
    output = started[0].process.stdout
    assert output is not None
    os.set_blocking(output.fileno(), False)
    heard, text = time.monotonic(), b""
    while True:
        ended = [one.process.poll() for one in started]  # before reading: nothing comes after
        data = output.read() or b""
        if data:
            heard = time.monotonic()
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                _report(line, on_progress)
        if any(code not in (None, 0) for code in ended):
            raise LearnerError(f"a distilling process failed: {_cause(started)}")
        if all(code == 0 for code in ended):
            return
        if time.monotonic() - heard > SILENCE_S:
            raise LearnerError(f"the distilling processes were silent for {SILENCE_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _report(line: bytes, on_progress: Callable[[JointProgress], None] | None) -> None:
    if line and on_progress is not None:
        values: dict[str, Any] = json.loads(line)
        on_progress(JointProgress(**values))


def _cause(started: Sequence[_Started]) -> str:
    """What went wrong first: the others fail too, when they miss the one that is gone."""
    deadline = time.monotonic() + GRACE_S
    while any(one.process.poll() is None for one in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    failed = {rank: one for rank, one in enumerate(started) if one.process.poll()}
    for rank, one in failed.items():
        if one.process.returncode < 0:
            name = signal.Signals(-one.process.returncode).name
            return f"process {rank + 1} of {len(started)} was ended by {name}"
    said = [_last_words(one) for one in failed.values()]
    return next((words for words in said if "gloo" not in words.lower()), said[0])


def _last_words(one: _Started) -> str:
    one.complaints.seek(0)
    lines = one.complaints.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {one.process.returncode}"
