"""Several processes distil together: to the end, and when one of them or the parent is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import (
    BookConfig,
    DistillationConfig,
    MemoryConfig,
    ModelConfig,
    RenderingConfig,
)
from learner import joint_distillation
from learner.errors import LearnerError
from learner.joint_distillation import (
    MODEL_FILE,
    JointProgress,
    JointSetting,
    _follow,
    _Started,
    distil_together,
)
from learner.planners import MimirPlanner, PlanLimits
from learner.trace_file import read_traces, write_traces
from learner.traces import teach
from model.saving import from_bytes
from shared_memory.records import Trace
from tasks.domains import get_domain
from tasks.rendering import Rendering
from tasks.simulators import make_simulator

SIZES = {"blocks": {"blocks": (3, 3)}, "ferry": {"cars": (1, 2), "locations": (2, 3)}}
RENDERING = RenderingConfig(observation="prompt")
PROGRESS = json.dumps(
    {
        "step": 1,
        "seconds": 1.0,
        "loss": 1.0,
        "tokens": 1,
        "exact": {},
        "codes_used": 0,
        "perplexity": 0.0,
        "quantisation_error": 0.0,
    }
)


def setting(folder: Path, steps: int = 60) -> JointSetting:
    return JointSetting(
        domains=tuple(SIZES),
        rendering=RENDERING,
        model=ModelConfig(
            layers=2,
            width=32,
            heads=2,
            feed_forward=48,
            positions="atoms",
            memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
            book=BookConfig(codes=16, width=8, warmup_steps=10, revival="batch"),
        ),
        distillation=DistillationConfig(
            optimiser="muon",
            batch_traces=4,
            decisions=2,
            learning_rate=0.01,
            warmup_steps=2,
            total_steps=steps,
        ),
        seed=1,
        processes=2,
        folder=str(folder),
        report_every=15,
    )


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    domains = [get_domain(name) for name in SIZES]
    rendering = Rendering(domains, RENDERING)
    made = []
    for domain in domains:
        planner, simulator = MimirPlanner(domain), make_simulator(domain)
        for seed in range(6):
            task = domain.draw(SIZES[domain.name], seed)
            made.append(teach(task, planner, simulator, rendering, PlanLimits())[1])
    return [trace for trace in made if trace is not None]


def children() -> dict[int, list[str]]:
    """This process's children that still run, and their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid() and state != "Z":
            found[int(folder.name)] = command
    return found


def test_two_domains_are_distilled_by_two_processes(tmp_path: Path, traces: list[Trace]) -> None:
    before, told = children(), list[JointProgress]()
    payload = distil_together(traces, setting(tmp_path), told.append)
    model, version = from_bytes(payload)
    assert version == 1
    assert model.config == setting(tmp_path).model
    assert [progress.step for progress in told] == [15, 30, 45, 60]
    assert told[-1].loss < 0.7 * told[0].loss
    assert sorted(told[-1].exact) == sorted(SIZES)
    assert told[0].tokens < told[-1].tokens
    assert 1 <= told[-1].perplexity <= told[-1].codes_used <= 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "traces.bin"]
    assert children() == before


def test_a_killed_process_ends_the_others_and_is_named(tmp_path: Path, traces: list[Trace]) -> None:
    before, killed = children(), list[float]()
    (tmp_path / MODEL_FILE).write_bytes(b"of an earlier time")

    def kill(_: JointProgress) -> None:
        if not killed:
            (victim,) = (
                process
                for process, command in children().items()
                if "learner.joint_process" in command and command[4] == "1"
            )
            os.kill(victim, signal.SIGKILL)
            killed.append(time.monotonic())

    with pytest.raises(LearnerError) as caught:
        distil_together(traces, setting(tmp_path, steps=1_000_000), kill)
    assert time.monotonic() - killed[0] < 20.0
    assert str(caught.value) == ("a distilling process failed: process 2 of 2 was ended by SIGKILL")
    assert children() == before
    assert not (tmp_path / MODEL_FILE).exists()


def test_an_interrupt_leaves_no_process(
    tmp_path: Path, traces: list[Trace], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "stub"
    stub.write_text(f"#!/bin/sh\necho '{PROGRESS}'\nexec sleep 100\n")
    stub.chmod(0o755)
    monkeypatch.setattr(joint_distillation, "sys", SimpleNamespace(executable=str(stub)))
    before = children()

    def interrupt(_: JointProgress) -> None:
        assert len(children()) == len(before) + 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil_together(traces, setting(tmp_path / "here"), interrupt)
    assert children() == before


def follow(*scripts: str, told: list[JointProgress] | None = None) -> None:
    """Follow processes that run these shell scripts."""
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        started = [
            _Started(
                subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=errors),
                errors,
            )
            for script, errors in zip(scripts, (first, second), strict=True)
        ]
        try:
            _follow(started, None if told is None else told.append)
        finally:
            for one in started:
                one.process.kill()
                one.process.wait()
                assert one.process.stdout is not None
                one.process.stdout.close()


def test_all_that_was_told_is_heard_also_in_pieces_and_at_the_very_end() -> None:
    told: list[JointProgress] = []
    cut = len(PROGRESS) // 2
    pieces = f"printf '%s' '{PROGRESS[:cut]}'; sleep 0.5; echo '{PROGRESS[cut:]}'"
    follow(f"{pieces}; echo '{PROGRESS}'; echo '{PROGRESS}'", "true", told=told)
    assert [progress.step for progress in told] == [1, 1, 1]


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        (("kill -9 $$", "exit 1"), "process 1 of 2 was ended by SIGKILL"),
        (("echo RuntimeError: gloo closed >&2; exit 1", "kill -9 $$"), "process 2 of 2 was"),
        (("echo a >&2; echo Gloo closed >&2; exit 1", "echo Oh: no >&2; exit 1"), "Oh: no"),
        (("exit 3", "true"), "exit code 3"),
        (("true", "exit 1"), "exit code 1"),
    ],
)
def test_whoever_failed_first_is_the_cause(scripts: tuple[str, str], words: str) -> None:
    """Also where all have ended before anybody looked."""
    with pytest.raises(LearnerError, match=f"a distilling process failed: .*{words}"):
        follow(*scripts)


def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_distillation, "SILENCE_S", 0.3)
    with pytest.raises(LearnerError, match="were silent"):
        follow("sleep 60", "sleep 60")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_cut_trace_file_is_refused(
    traces: list[Trace], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.bin"
    assert write_traces(path, traces[:4]) == 4
    whole = path.read_bytes()
    assert read_traces(path) == traces[:4]
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), "length")])
    with pytest.raises(LearnerError, match=r"the trace file .*cut\.bin is damaged"):
        read_traces(path)


@pytest.mark.parametrize("cut", ["before a trace", "before the count"])
def test_a_file_cut_between_traces_is_refused(
    tmp_path: Path, traces: list[Trace], cut: str
) -> None:
    path = tmp_path / "traces.bin"
    lengths = []
    for count in (1, 2):
        write_traces(path, traces[:count])
        lengths.append(path.stat().st_size)
    count_frame = 5
    whole = path.read_bytes()
    path.write_bytes(whole[: (lengths[0] if cut == "before a trace" else lengths[1]) - count_frame])
    with pytest.raises(LearnerError, match="it is cut"):
        read_traces(path)


def test_something_else_than_traces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "traces.bin"
    path.write_bytes(b"\x02\x00\x00\x00\xa1a\x01\x00\x00\x00\x01")
    with pytest.raises(LearnerError, match="is damaged"):
        read_traces(path)
