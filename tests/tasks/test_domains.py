"""The registry: names, folders, the nearest name, the catalogue."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.catalogue import list_tasks
from tasks.domains import domain_names, get_domain, get_pddl_domain
from tasks.errors import TaskError
from tasks.generators import GENERATORS
from tasks.simulators import make_simulator, why_this_simulator
from tasks.stream import TaskStream


def test_the_domains_with_generators_come_first() -> None:
    assert domain_names()[: len(GENERATORS)] == tuple(GENERATORS)
    assert len(domain_names()) > 60


def test_what_a_domain_knows() -> None:
    blocks = get_domain("blocks")
    assert blocks.actions == {"pickup": 1, "putdown": 1, "stack": 2, "unstack": 1}
    assert blocks.static_predicates == frozenset()
    assert blocks.action_of("unstack", ["a", "b", "robot"]) == ("unstack", "a")
    with pytest.raises(TaskError, match="no operator 'fly'"):
        blocks.action_of("fly", [])
    assert get_domain("ferry").static_predicates == {"car", "location", "not-eq"}
    assert get_domain("gripper").word == "gripper"


@pytest.mark.parametrize(
    ("given", "nearest"), [("block", "blocks"), ("Grpper", "gripper"), ("sokobam", "sokoban")]
)
def test_an_unknown_domain_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(TaskError, match=f"no domain '{given}': did you mean '{nearest}'"):
        get_domain(given)


def test_a_users_folder(tmp_path: Path) -> None:
    gripper = get_domain("gripper")
    folder = tmp_path / "mine"
    (folder / "problems").mkdir(parents=True)
    (folder / "test").mkdir()
    (folder / "domain.pddl").write_text(gripper.text)
    (folder / "problems" / "p1.pddl").write_text(gripper.draw({}, 1).problem)
    (folder / "test" / "p2.pddl").write_text(gripper.draw({}, 2).problem)
    domain = get_domain(str(folder))
    assert domain.name == str(folder)
    assert domain.word == "gripper-strips"
    task = domain.task_from_file(domain.train_files[0])
    assert task.domain == str(folder)
    assert task.origin.endswith(":train/problems/p1.pddl")
    simulator = make_simulator(domain)
    simulator.reset(task)
    assert simulator.step(simulator.applicable_actions()[0])
    (row,) = list_tasks([str(folder)])
    assert (row.train, row.test, row.generator, row.simulator) == (1, 1, False, "mimir")


def test_files_of_the_same_name_in_both_folders_are_told_apart(tmp_path: Path) -> None:
    gripper = get_domain("gripper")
    (tmp_path / "domain.pddl").write_text(gripper.text)
    for number, folder in enumerate((tmp_path, tmp_path / "problems", tmp_path / "test")):
        folder.mkdir(exist_ok=True)
        (folder / "p.pddl").write_text(gripper.draw({}, number).problem)
    domain = get_domain(str(tmp_path))
    tasks = [domain.task_from_file(file) for file in (*domain.train_files, *domain.test_files)]
    places = [task.origin.removeprefix(f"file:{domain.name}:") for task in tasks]
    assert places == ["train/p.pddl", "train/problems/p.pddl", "test/p.pddl"]
    assert len({task.digest for task in tasks}) == 3
    assert [domain.task_from_origin(task.origin) for task in tasks] == tasks
    share = DomainShare(name=str(tmp_path), source="files")
    phase = PhaseConfig(name="twins", tasks=2, domains=(share,))
    stream = TaskStream(StreamConfig(phases=(phase,), probe_tasks=1, distinct=True), 0)
    for _ in range(2):  # drawn, then found again by their origins
        assert {task.digest for task in stream} == {task.digest for task in tasks[:2]}


def test_an_empty_folder_is_told_where_problems_go(tmp_path: Path) -> None:
    (tmp_path / "domain.pddl").write_text(get_domain("gripper").text)
    share = DomainShare(name=str(tmp_path), source="files")
    phase = PhaseConfig(name="none", tasks=1, domains=(share,))
    with pytest.raises(TaskError, match=r"no problem files: put problems as \*\.pddl beside"):
        TaskStream(StreamConfig(phases=(phase,), probe_tasks=1), 0)


@pytest.mark.parametrize("name", ["equalityblocks", "equalityblocks2", "quantifiedblocks3"])
def test_files_that_cannot_be_read_are_left_out_and_counted(name: str) -> None:
    domain = get_pddl_domain(name)
    for file in domain.train_files:
        simulator = make_simulator(domain)
        simulator.reset(domain.task_from_file(file))
        assert simulator.applicable_actions()
    (row,) = list_tasks([name])
    left_out = 4 - len(domain.train_files)
    assert 0 < row.train == 4 - left_out < 4
    assert f"{left_out} of its problem files are left out: " in row.note
    assert "goals with 'or' are not supported" in row.note


def test_only_a_domain_of_pddlgym_is_said_to_have_been_compared(tmp_path: Path) -> None:
    (tmp_path / "domain.pddl").write_text(get_domain("gripper").text)
    assert why_this_simulator(get_domain("gripper")).startswith("the faster of two that agree:")
    assert why_this_simulator(get_domain(str(tmp_path))).startswith("the faster of two: Mimir")


def test_a_folder_without_a_domain(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"there is no .*domain\.pddl"):
        get_domain(str(tmp_path))
    with pytest.raises(TaskError, match=r"there is no no/such/folder/domain\.pddl"):
        get_domain("no/such/folder")


def test_a_folder_with_errors_names_file_and_line(tmp_path: Path) -> None:
    gripper = get_domain("gripper")
    (tmp_path / "domain.pddl").write_text(gripper.text)
    (tmp_path / "p.pddl").write_text(gripper.draw({}, 1).problem.replace("at-robby", "at-bobby"))
    domain = get_domain(str(tmp_path))
    with pytest.raises(TaskError, match=r"p\.pddl:3: 'at-bobby' is not a predicate"):
        domain.task_from_file(domain.train_files[0])
    (row,) = list_tasks([str(tmp_path)])
    assert row.simulator == ""
    assert "p.pddl:3" in row.reason
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "domain.pddl").write_text("(define (domain x)\n  (:predicates (p ?x))\n")
    with pytest.raises(TaskError, match=r"broken/domain\.pddl:1: this '\(' is never closed"):
        get_domain(str(tmp_path / "broken"))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "domain.pddl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="cannot read the domain file"):
        get_domain(str(tmp_path))


def test_the_catalogue_of_everything_is_fast() -> None:
    start = time.process_time()
    rows = {row.domain: row for row in list_tasks()}
    assert time.process_time() - start < 10  # 0.4 s; a loaded machine may take longer by the clock
    assert list(rows) == list(domain_names())
    for name in GENERATORS:
        assert rows[name].generator
        assert rows[name].simulator == "mimir"
        assert rows[name].sizes
    assert all(bool(row.simulator) != bool(row.reason) for row in rows.values())
    assert "by chance" in rows["river"].reason


def test_pddlgym_domains_by_chance_are_refused() -> None:
    for kind in ("auto", "pddlgym"):
        with pytest.raises(TaskError, match="outcomes by chance"):
            make_simulator(get_domain("river"), kind)  # type: ignore[arg-type]
