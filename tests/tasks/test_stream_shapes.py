"""Streams that recur, drift, take turns and never repeat a task."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.settings import load_settings
from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.stream import TaskStream
from tasks.stream_phases import size_at, turns


def share(name: str, **values: Any) -> DomainShare:
    return DomainShare(name=name, **values)


def stream(*phases: PhaseConfig, seed: int = 0, probes: int = 4, **values: Any) -> TaskStream:
    return TaskStream(StreamConfig(phases=phases, probe_tasks=probes, **values), seed)


def phase(name: str, *shares: DomainShare, tasks: int = 40, **values: Any) -> PhaseConfig:
    return PhaseConfig(name=name, tasks=tasks, domains=shares, **values)


def test_streams_of_earlier_releases_stay_as_they_were() -> None:
    config = load_settings("quickstart").config.stream
    tasks = TaskStream(config, 0)
    digest = hashlib.blake2b(digest_size=8)
    for index in range(0, len(tasks), len(tasks) // 60):
        task = tasks[index]
        digest.update(task.origin.encode() + task.problem.encode() + str(task.phase).encode())
    for one in tasks.phases:
        for task in tasks.probe(one.number):
            digest.update(task.origin.encode() + task.problem.encode())
    assert digest.hexdigest() == "ff0d0ea4dcb8e809"


def test_phases_recur_with_a_probe_of_their_own() -> None:
    tasks = stream(phase("a", share("blocks")), phase("b", share("ferry")), repeat=3)
    assert [p.name for p in tasks.phases] == ["a", "b", "a (2)", "b (2)", "a (3)", "b (3)"]
    assert [(p.start, p.stop) for p in tasks.phases] == [(40 * i, 40 * i + 40) for i in range(6)]
    assert len(tasks) == 240
    for number, one in enumerate(tasks.phases):
        assert {task.domain for task in tasks.probe(number)} == set(one.domains)
        assert {tasks[i].phase for i in range(one.start, one.stop)} == {number}
    visible = [task.visible for number in range(6) for task in tasks.probe(number)]
    assert len(set(visible)) == 24
    assert not set(visible) & {task.visible for task in tasks}
    assert [tasks[i].digest for i in range(40)] != [tasks[i].digest for i in range(80, 120)]


def test_turns_spread_domains_evenly_by_weight() -> None:
    shares = (share("blocks", weight=2.0), share("ferry"), share("hanoi"))
    order = [one.name for one in turns(shares, 12)]
    assert order[:4] == order[4:8] == order[8:] == ["blocks", "ferry", "hanoi", "blocks"]
    tasks = stream(phase("mixed", *shares, mixing="turns"))
    assert [task.domain for task in tasks][:4] == ["blocks", "ferry", "hanoi", "blocks"]
    assert Counter(task.domain for task in tasks) == {"blocks": 20, "ferry": 10, "hanoi": 10}


def test_sizes_drift_over_a_phase() -> None:
    drifting = share("blocks", size={"blocks": (2, 3)}, drift_to={"blocks": (6, 8)})
    ranges = [size_at(drifting, place)["blocks"] for place in (0.0, 0.25, 0.5, 1.0)]
    assert ranges == [(2, 3), (3, 4), (4, 6), (6, 8)]
    tasks = stream(phase("growing", drifting, tasks=100))
    sizes = [int(task.origin.split("blocks=")[1].split(",")[0]) for task in tasks]
    for index, size in enumerate(sizes):
        least, most = size_at(drifting, index / 99)["blocks"]
        assert least <= size <= most
    assert set(sizes[:10]) <= {2, 3}
    assert set(sizes[-10:]) <= {6, 7, 8}
    probe = {task.origin.split("blocks=")[1].split(",")[0] for task in tasks.probe(0)}
    assert len(probe) > 1  # held-out tasks are of all the phase's sizes


def test_drift_needs_both_ends_and_sizes_that_are_possible() -> None:
    with pytest.raises(ValidationError, match="drift_to moves balls of domain 'gripper'"):
        share("gripper", drift_to={"balls": (3, 4)})
    wrong = share("blocks", size={"blocks": (2, 3)}, drift_to={"blocks": (1, 4)})
    with pytest.raises(TaskError, match=r"size 'blocks' of domain 'blocks' cannot be \[1, 4\]"):
        stream(phase("wrong", wrong))


def distinct_stream(seed: int = 0) -> TaskStream:
    shares = (share("blocks"), share("visit_all"))
    return stream(phase("a", *shares), phase("b", *shares), seed=seed, repeat=2, distinct=True)


def test_no_task_of_a_distinct_stream_comes_twice_and_all_machines_agree() -> None:
    tasks, again = distinct_stream(), distinct_stream()
    forward = list(tasks)
    assert [task.index for task in forward] == list(range(160))
    assert len({task.digest for task in forward}) == 160
    held_out = {task.digest for number in range(4) for task in tasks.probe(number)}
    assert not held_out & {task.digest for task in forward}
    order = random.Random(1).sample(range(160), 160)
    assert [again[index] for index in order] == [forward[index] for index in order]
    assert [tasks[index] for index in (3, 100, 3)] == [forward[index] for index in (3, 100, 3)]
    assert forward != list(distinct_stream(seed=1))


def test_a_domain_that_runs_dry_leaves_its_place_to_others() -> None:
    # Two discs on three pegs: 12 contents up to the pegs' names.
    few = share("hanoi", size={"discs": (2, 2), "pegs": (3, 3)})
    both = phase("both", few, share("doors"), tasks=60, mixing="turns")
    tasks = list(stream(both, distinct=True, probes=2))
    assert len({task.digest for task in tasks}) == 60
    counts = Counter(task.domain for task in tasks)
    assert 1 < counts["hanoi"] < 20
    with pytest.raises(TaskError, match=r"phase 'few' runs dry at task \d+ of 60: its domains"):
        list(stream(phase("few", few, tasks=60), distinct=True, probes=2))


def test_every_file_comes_once(tmp_path: Path) -> None:
    doors = get_domain("doors")
    (tmp_path / "problems").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "domain.pddl").write_text(getattr(doors, "text"))  # noqa: B009
    drawn = {task.visible: task for task in (doors.draw({}, seed) for seed in range(60))}
    for number, task in enumerate([*drawn.values()][:25]):
        folder = tmp_path / ("problems" if number < 20 else "test")
        (folder / f"p{number}.pddl").write_text(task.problem)
    config = phase("files", share(str(tmp_path), source="files"), tasks=20)
    tasks = list(stream(config, distinct=True))
    assert len({task.origin for task in tasks}) == 20
    more = phase("files", share(str(tmp_path), source="files"), tasks=21)
    with pytest.raises(TaskError, match="phase 'files' runs dry at task 20 of 21"):
        list(stream(more, distinct=True))


def test_thousands_of_tasks_of_many_domains() -> None:
    config = load_settings("thousands").config.stream
    assert sum(one.tasks for one in config.phases) * config.repeat >= 5000
    assert len({one.name for phase_ in config.phases for one in phase_.domains}) >= 15
    assert config.distinct


@pytest.mark.slow
def test_twenty_thousand_distinct_tasks_from_one_seed() -> None:
    config = load_settings("thousands").config.stream
    longer = config.model_copy(update={"repeat": 12, "probe_tasks": 8})
    assert len({task.digest for task in TaskStream(longer, 0)}) >= 20_000
