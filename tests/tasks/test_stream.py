"""The stream: reproducible, in phases, and never showing what a probe holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.stream import TaskStream

FOUR = ("blocks", "gripper", "ferry", "hanoi")


def phase(name: str, *shares: DomainShare, tasks: int = 100) -> PhaseConfig:
    return PhaseConfig(name=name, tasks=tasks, domains=shares)


def four_domains(tasks: int = 100, probe_tasks: int = 20) -> StreamConfig:
    phases = tuple(phase(name, DomainShare(name=name), tasks=tasks) for name in FOUR)
    return StreamConfig(phases=phases, probe_tasks=probe_tasks)


def test_the_same_seed_gives_the_same_tasks_in_any_order() -> None:
    first, second = TaskStream(four_domains(), 7), TaskStream(four_domains(), 7)
    forward = list(first)
    assert len(forward) == len(first) == 400
    assert [second[index] for index in reversed(range(400))] == forward[::-1]
    assert [first.probe(i) for i in range(4)] == [second.probe(i) for i in range(4)]
    assert forward != list(TaskStream(four_domains(), 8))


def test_phases_follow_each_other() -> None:
    stream = TaskStream(four_domains(), 0)
    assert [(p.name, p.start, p.stop, p.domains) for p in stream.phases] == [
        (name, 100 * i, 100 * i + 100, (name,)) for i, name in enumerate(FOUR)
    ]
    for index, task in enumerate(stream):
        assert (task.index, task.phase) == (index, index // 100)
        assert task.domain == stream.phases[task.phase].name
    assert [domain.name for domain in stream.domains] == list(FOUR)
    with pytest.raises(IndexError, match="task 400 is outside the stream of 400 tasks"):
        stream[400]


def test_no_probe_task_is_in_the_stream_whatever_it_is_called() -> None:
    stream = TaskStream(four_domains(tasks=500, probe_tasks=32), 3)
    shown = {key for task in stream for key in (task.digest, task.visible)}
    for number in range(4):
        probe = stream.probe(number)
        assert len({task.visible for task in probe}) == len(probe) == 32
        assert all(task.index == -1 and task.phase == number for task in probe)
        for task in probe:
            domain = get_domain(task.domain)
            again = domain.task(domain.read_problem(task.problem, ""), "")
            assert (again.digest, again.visible) == (task.digest, task.visible)
            assert not {task.digest, task.visible} & shown
            assert {task.digest, task.visible} <= stream.held_out


def test_probe_tasks_differ_over_all_phases() -> None:
    shares = [DomainShare(name=name) for name in FOUR]
    phases = tuple(phase(f"phase {i}", *shares) for i in range(3))
    stream = TaskStream(StreamConfig(phases=phases, probe_tasks=40), 1)
    tasks = [task for number in range(3) for task in stream.probe(number)]
    assert len(tasks) == 120
    assert len({task.visible for task in tasks}) == len({task.digest for task in tasks}) == 120


@pytest.mark.parametrize("seed", range(3))
def test_an_exhausted_domain_leaves_its_part_of_the_probe_to_others(seed: int) -> None:
    # Two discs on three pegs, up to the pegs' names: 12 contents.
    small = DomainShare(name="hanoi", size={"discs": (2, 2)}, weight=9.0)
    mixed = phase("mixed", small, DomainShare(name="blocks", size={"blocks": (4, 4)}))
    stream = TaskStream(StreamConfig(phases=(mixed,), probe_tasks=30), seed)
    assert Counter(task.domain for task in stream.probe(0)) == {"hanoi": 6, "blocks": 24}
    assert len({task.visible for task in stream if task.domain == "hanoi"}) == 6


def test_weights_mix_domains_inside_a_phase() -> None:
    shares = (DomainShare(name="blocks", weight=3.0), DomainShare(name="hanoi", weight=1.0))
    config = StreamConfig(phases=(phase("mixed", *shares, tasks=400),), probe_tasks=10)
    tasks = list(TaskStream(config, 0))
    assert 0.7 < sum(task.domain == "blocks" for task in tasks) / 400 < 0.8


def test_too_few_distinct_tasks_for_the_probe() -> None:
    tiny = DomainShare(name="blocks", size={"blocks": (2, 2)})
    config = StreamConfig(phases=(phase("tiny", tiny),), probe_tasks=50)
    with pytest.raises(TaskError, match=r"phase 'tiny' can supply only \d distinct probe tasks of"):
        TaskStream(config, 0)


def test_a_stream_keeps_half_of_a_small_domain() -> None:
    small = DomainShare(name="blocks", size={"blocks": (3, 3)})  # 22 contents
    config = StreamConfig(phases=(phase("small", small),), probe_tasks=5)
    for seed in range(5):
        stream = TaskStream(config, seed)
        assert len({task.visible for task in stream}) >= 11


def test_nothing_left_beside_the_probe(tmp_path: Path) -> None:
    blocks = get_domain("blocks")
    (tmp_path / "test").mkdir()
    (tmp_path / "domain.pddl").write_text(blocks.text)
    (tmp_path / "p.pddl").write_text(blocks.draw({}, 0).problem)
    (tmp_path / "test" / "p.pddl").write_text(blocks.draw({}, 0).problem.replace("b1", "other"))
    share = DomainShare(name=str(tmp_path), source="files")
    with pytest.raises(TaskError, match=r"phase 'same' has no tasks of domain .* beside its probe"):
        TaskStream(StreamConfig(phases=(phase("same", share),), probe_tasks=1), 0)


def test_files_probe_from_the_test_folder() -> None:
    share = DomainShare(name="blocks", source="files")
    stream = TaskStream(StreamConfig(phases=(phase("files", share),), probe_tasks=4), 0)
    assert {task.origin.split(":")[2].split("/")[0] for task in stream} == {"train"}
    assert {task.origin.split(":")[2].split("/")[0] for task in stream.probe(0)} == {"test"}


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (DomainShare(name="blokcs"), "there is no domain 'blokcs': did you mean 'blocks'"),
        (DomainShare(name="sokoban"), "'sokoban' has no generator"),
        (DomainShare(name="blocks", size={"balls": (1, 2)}), "has no size 'balls'"),
        (
            DomainShare(name="blocks", source="files", size={"blocks": (2, 3)}),
            "is read from files, so that 'size' has no meaning",
        ),
    ],
)
def test_wrong_phases_are_refused(share: DomainShare, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TaskStream(StreamConfig(phases=(phase("wrong", share),)), 0)


def test_a_folder_without_problems(tmp_path: Path) -> None:
    (tmp_path / "domain.pddl").write_text(get_domain("gripper").text)
    share = DomainShare(name=str(tmp_path), source="files")
    with pytest.raises(TaskError, match="has no problem files"):
        TaskStream(StreamConfig(phases=(phase("empty", share),)), 0)
