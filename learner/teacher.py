"""The teacher: planners in child processes with limits on time and memory, and an account.

Every request that comes in is answered and counted exactly once, as solved, unsolvable, timed
out, out of memory or an error; nothing is dropped. A child that is over its time is killed and
replaced. Answers are kept by the task's text, because small domains repeat their tasks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from configs.schema import RenderingConfig, TeacherConfig
from learner.errors import LearnerError
from learner.frames import FrameBuffer, pack_frame
from learner.planners import PlanOutcome
from learner.teacher_process import TeacherSetting
from shared_memory.codec import decode, encode
from shared_memory.records import PlanRequest, Trace

SimulatorKind = Literal["auto", "pddlgym", "mimir"]

START_DEADLINE_S = 60.0
GRACE_S = 1.0
"""Seconds past the time limit that a child has to answer; then it is killed."""
_MOST_STARTS = 3
_CROWDED = 0.6
"""Share of its memory limit past which a child that crashes is said to have run out of it."""


class TeacherClosedError(LearnerError):
    """The pool was closed while a plan was awaited; the request was not answered."""


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """The answer to one request. `trace` is None unless a plan of at least one action exists."""

    request: PlanRequest
    outcome: PlanOutcome
    trace: Trace | None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class TeacherStatistics:
    """Counts since the pool was made. calls = solved + unsolvable + ... + errors.

    `cached` calls are part of `calls`; `seconds` were spent by planners (not by cached answers).
    """

    calls: int = 0
    solved: int = 0
    unsolvable: int = 0
    timed_out: int = 0
    out_of_memory: int = 0
    errors: int = 0
    cached: int = 0
    restarts: int = 0
    seconds: float = 0.0


_COUNTERS = {
    "solved": "solved",
    "unsolvable": "unsolvable",
    "timeout": "timed_out",
    "out_of_memory": "out_of_memory",
    "error": "errors",
}


@dataclass(slots=True)
class _Child:
    """A child process and the request it works on."""

    process: subprocess.Popen[bytes]
    complaints: Any  # a temporary file that takes its standard error
    deadline: float
    buffer: FrameBuffer = field(default_factory=FrameBuffer)
    ready: bool = False
    position: int | None = None
    resident_mb: float = 0.0  # at its highest, known once it has ended

    @property
    def is_awaited(self) -> bool:
        """Whether it must say something before its deadline."""
        return not self.ready or self.position is not None


class TeacherPool:
    """Plans for many requests on `config.processes` child processes.

    `plan` is for one thread; `close` may be called from any other and ends a `plan` under way
    with TeacherClosedError. Children are started at the first need.
    """

    def __init__(
        self,
        domains: Sequence[str],
        rendering: RenderingConfig,
        config: TeacherConfig,
        simulator: SimulatorKind = "auto",
        kept_answers: int = 4096,
    ) -> None:
        self._setting = TeacherSetting(
            domains=tuple(domains), simulator=simulator, rendering=rendering, teacher=config
        )
        self._config = config
        self._children: list[_Child] = []
        self._answers: OrderedDict[bytes, tuple[PlanOutcome, Trace | None]] = OrderedDict()
        self._kept_answers = kept_answers
        self._closed = threading.Event()
        self._planning = threading.Lock()
        self._failed_starts = 0
        self.statistics = TeacherStatistics()

    def __enter__(self) -> TeacherPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, requests: Sequence[PlanRequest]) -> list[TeacherAnswer]:
        """Answer all requests, in their order.

        Raises TeacherClosedError, and LearnerError where children cannot be started.
        """
        with self._planning:
            return self._plan(requests)

    def close(self) -> None:
        """End all children and give their resources back. Harmless when repeated."""
        self._closed.set()
        if not self._planning.acquire(timeout=10.0):
            raise LearnerError("the teacher could not be closed: a plan did not end within 10 s")
        try:
            self._end_all()
        finally:
            self._planning.release()

    def _plan(self, requests: Sequence[PlanRequest]) -> list[TeacherAnswer]:
        answers: list[TeacherAnswer | None] = [self._known(request) for request in requests]
        waiting = [i for i, answer in reversed(list(enumerate(answers))) if answer is None]
        outstanding = len(waiting)
        try:
            while outstanding:
                if self._closed.is_set():
                    raise TeacherClosedError("the teacher was closed while it planned")
                self._hand_out(requests, waiting)
                for position, outcome, trace in self._collect():
                    answers[position] = self._answered(requests[position], outcome, trace)
                    outstanding -= 1
        except BaseException:
            self._end_all()  # what they work on nobody waits for any more
            raise
        done = [answer for answer in answers if answer is not None]
        for answer in done:
            self._count(answer)
        return done

    def _known(self, request: PlanRequest) -> TeacherAnswer | None:
        found = self._answers.get(_key(request))
        if found is None:
            return None
        self._answers.move_to_end(_key(request))
        outcome, trace = found
        return TeacherAnswer(request, outcome, _for(request, trace), cached=True)

    def _answered(
        self, request: PlanRequest, outcome: PlanOutcome, trace: Trace | None
    ) -> TeacherAnswer:
        if outcome.status in ("solved", "unsolvable"):
            self._answers[_key(request)] = (outcome, trace)
            while len(self._answers) > self._kept_answers:
                self._answers.popitem(last=False)
        return TeacherAnswer(request, outcome, _for(request, trace))

    def _count(self, answer: TeacherAnswer) -> None:
        old = self.statistics
        counter = _COUNTERS[answer.outcome.status]
        self.statistics = replace(
            old,
            calls=old.calls + 1,
            cached=old.cached + answer.cached,
            seconds=old.seconds + (0.0 if answer.cached else answer.outcome.seconds),
            **{counter: getattr(old, counter) + 1},
        )

    def _hand_out(self, requests: Sequence[PlanRequest], waiting: list[int]) -> None:
        """Start the children that are needed and give each that is free a request."""
        busy = sum(child.position is not None for child in self._children)
        while len(self._children) < min(self._config.processes, busy + len(waiting)):
            self._start()
        for child in list(self._children):
            if waiting and child.ready and child.position is None:
                position = waiting.pop()
                child.position = position
                child.deadline = time.monotonic() + self._config.time_limit_s + GRACE_S
                assert child.process.stdin is not None
                try:
                    child.process.stdin.write(pack_frame(encode(requests[position])))
                    child.process.stdin.flush()
                except BrokenPipeError:
                    waiting.append(position)  # it had ended before it could take the request
                    self._replace(child)

    def _collect(self) -> list[tuple[int, PlanOutcome, Trace | None]]:
        """Wait for what the children say, or for the next deadline."""
        now = time.monotonic()
        found: list[tuple[int, PlanOutcome, Trace | None]] = []
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                assert child.process.stdout is not None
                selector.register(child.process.stdout, selectors.EVENT_READ, child)
            expecting = [
                c.deadline for c in self._children if not c.ready or c.position is not None
            ]
            timeout = min(0.2, max(0.0, min(expecting, default=now) - now))
            events = selector.select(timeout)
        for key, _ in events:
            child = key.data
            data = os.read(child.process.stdout.fileno(), 1 << 16)
            if not data:
                found += self._died(child)
                continue
            for frame in child.buffer.feed(data):
                found += self._said(child, frame)
        for child in list(self._children):
            if child.is_awaited and time.monotonic() > child.deadline:
                found += self._overdue(child)
        return found

    def _said(self, child: _Child, frame: Any) -> list[tuple[int, PlanOutcome, Trace | None]]:
        if frame == ["ready"]:
            child.ready = True
            self._failed_starts = 0
            return []
        status, plan, optimal, seconds, reason, encoded = frame
        if child.position is None:
            raise LearnerError("a teacher process answered although nothing was asked")
        outcome = PlanOutcome(
            status, tuple(tuple(action) for action in plan), optimal, seconds, reason
        )
        position, child.position = child.position, None
        if status == "out_of_memory":
            self._replace(child)  # its address space is full or in pieces
        return [(position, outcome, None if encoded is None else decode(Trace, encoded))]

    def _overdue(self, child: _Child) -> list[tuple[int, PlanOutcome, Trace | None]]:
        position = child.position
        started = child.ready
        complaint = self._replace(child)
        if not started:
            self._start_failed(f"was not ready after {START_DEADLINE_S:g} s", complaint)
        if position is None:
            return []
        return [(position, PlanOutcome("timeout", seconds=self._config.time_limit_s), None)]

    def _died(self, child: _Child) -> list[tuple[int, PlanOutcome, Trace | None]]:
        position = child.position
        complaint = self._replace(child)
        code = child.process.returncode
        if position is None:
            if not child.ready:
                self._start_failed(f"ended with status {code}", complaint)
            return []
        crowded = child.resident_mb > _CROWDED * self._config.memory_limit_mb
        if "bad_alloc" in complaint or "MemoryError" in complaint or (code < 0 and crowded):
            return [(position, PlanOutcome("out_of_memory"), None)]
        reason = f"a teacher process ended with status {code} while it planned: {complaint}"
        return [(position, PlanOutcome("error", reason=reason), None)]

    def _start(self) -> None:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "learner.teacher_process", self._setting.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            process_group=0,
        )
        child = _Child(process, complaints, time.monotonic() + START_DEADLINE_S)
        self._children.append(child)

    def _start_failed(self, what: str, complaint: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _MOST_STARTS:
            raise LearnerError(
                f"the teacher cannot start its processes: the last of {_MOST_STARTS} {what}"
                + (f" ({complaint})" if complaint else "")
            )

    def _end(self, child: _Child) -> str:
        """Kill a child; the last line of what it complained about."""
        self._children.remove(child)
        process = child.process
        # Popen.kill and Popen.wait would reap it without telling how much memory it took.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the planner that it may have started
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            child.resident_mb = usage.ru_maxrss / 1024
        except ChildProcessError:  # where SIGCHLD is ignored, the kernel has reaped it
            process.returncode = -signal.SIGKILL
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # a request that was never read
                pipe.close()
        child.complaints.seek(0)
        text = child.complaints.read().decode(errors="replace")
        child.complaints.close()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:500] if lines else ""

    def _replace(self, child: _Child) -> str:
        """End a child that another one will take the place of, and count it."""
        self.statistics = replace(self.statistics, restarts=self.statistics.restarts + 1)
        return self._end(child)

    def _end_all(self) -> None:
        for child in list(self._children):
            self._end(child)


def _key(request: PlanRequest) -> bytes:
    """What identifies a task's text (the digest alone would take renamed tasks for one)."""
    text = f"{request.domain}\n{request.problem}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _for(request: PlanRequest, trace: Trace | None) -> Trace | None:
    """The trace with the request's place in the stream."""
    if trace is None:
        return None
    return replace(
        trace,
        task_index=request.task_index,
        task_digest=request.task_digest,
        phase=request.phase,
    )
