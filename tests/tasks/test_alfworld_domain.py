"""ALFWorld as a domain: drawn again alike, told apart by content, its texts from closed sets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from rich.console import Console

from cluster.domain_list import print_domains
from configs.schema import DomainShare, PhaseConfig, RenderingConfig, StreamConfig
from tasks.alfworld import wheel
from tasks.alfworld.domain import AlfworldDomain, _files, make_domain
from tasks.alfworld.household import mangled
from tasks.alfworld.problem import parse_problem
from tasks.alfworld.vocabulary import LAMPS, OBJECTS, RECEPTACLES, TOOLS, TYPES
from tasks.catalogue import list_tasks
from tasks.domains import get_domain
from tasks.errors import TaskError
from tasks.rendering import Rendering
from tasks.stream import TaskStream
from tasks.task import Task

SMALL = {"receptacles": (4, 6), "wanted": (1, 1), "distractors": (0, 3)}


def changed(task: Task, old: str, new: str) -> Task:
    game = json.loads(task.problem)
    assert old in game["pddl_problem"]
    game["pddl_problem"] = game["pddl_problem"].replace(old, new)
    return make_domain().task(json.dumps(game), "")


def test_the_domain_is_found_by_name() -> None:
    assert isinstance(get_domain("alfworld"), AlfworldDomain)


def test_the_vocabulary_holds_all_types_of_the_wheel() -> None:
    held = wheel.can_contain()
    assert {name.lower() for name in wheel.openable_types()} <= TYPES
    sliced = {"applesliced", "breadsliced", "lettucesliced", "potatosliced", "tomatosliced"}
    assert {name.lower() for things in held.values() for name in things} - sliced <= TYPES
    assert {name.lower() for name in held} <= TYPES | {"tabletop", "sink", "bathtub"}
    assert not set(RECEPTACLES) & set(OBJECTS)
    assert set(LAMPS) <= set(OBJECTS)
    assert set(TOOLS.values()) <= set(RECEPTACLES)


def test_draws_are_repeatable_and_differ() -> None:
    domain = make_domain()
    tasks = [domain.draw(SMALL, seed) for seed in range(30)]
    assert tasks == [domain.draw(SMALL, seed) for seed in range(30)]
    assert [domain.task_from_origin(task.origin) for task in tasks] == tasks
    assert len({task.digest for task in tasks}) == len({task.visible for task in tasks}) == 30


def test_digests_ignore_what_is_only_a_name() -> None:
    task = make_domain().draw(SMALL, 5)
    household, goal = parse_problem(json.loads(task.problem)["pddl_problem"])
    thing = next(item for item in household.items if item.type == goal.wanted)
    renamed = changed(task, mangled(thing.identifier), mangled(f"{thing.type}|+09.99|+9.99|+9.99"))
    assert (renamed.digest, renamed.visible) == (task.digest, task.visible)
    other = next(r for r in household.receptacles if r.identifier != thing.receptacle)
    inside = f"(inReceptacle {mangled(thing.identifier)} "
    moved = changed(task, inside + mangled(thing.receptacle), inside + mangled(other.identifier))
    assert moved.digest != task.digest
    assert moved.visible != task.visible


def test_what_does_not_matter_to_the_goal_is_not_visible() -> None:
    for seed in range(20):
        task = make_domain().draw(SMALL, seed)
        household, goal = parse_problem(json.loads(task.problem)["pddl_problem"])
        rest = [item for item in household.items if item.type not in (goal.wanted, goal.target)]
        if rest:
            clutter = f"(inReceptacle {mangled(rest[0].identifier)} {mangled(rest[0].receptacle)})"
            tidied = changed(task, clutter, "")
            assert tidied.digest != task.digest
            assert tidied.visible == task.visible
            return
    pytest.fail("twenty games without clutter")


def test_a_stream_of_games_keeps_its_probe_apart() -> None:
    share = DomainShare(name="alfworld", size=SMALL)
    phase = PhaseConfig(name="games", tasks=30, domains=(share,))
    stream = TaskStream(StreamConfig(phases=(phase,), probe_tasks=6), 0)
    probe = stream.probe(0)
    assert len({task.visible for task in probe}) == 6
    held_out = {task.visible for task in probe}
    assert not held_out & {task.visible for task in stream}


def test_every_text_is_of_the_vocabulary() -> None:
    domain = make_domain()
    rendering = Rendering([domain], RenderingConfig(observation="prompt"))
    simulator = domain.make_simulator()
    words = set(rendering.vocabulary)
    rng = random.Random(0)
    for seed in range(6):
        simulator.reset(domain.draw({}, seed))
        naming = rendering.naming(simulator, seed)
        for _ in range(15):
            text = rendering.prompt(simulator, naming)
            assert words.issuperset(text.split())
            assert "clutter" not in text.split()
            action = rng.choice(simulator.applicable_actions())
            assert rendering.parse_action(rendering.action(action, naming), naming) == action
            assert simulator.step(action)


def test_real_games_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = make_domain()
    for split in ("train", "valid_seen"):
        trial = tmp_path / f"json_2.1.1/{split}/pick_and_place_simple-Mug-None-Desk-301/trial_T1"
        trial.mkdir(parents=True)
        (trial / "game.tw-pddl").write_text(domain.draw(SMALL, len(split)).problem)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _files.cache_clear()
    try:
        (train,), (test,) = domain.train_files, domain.test_files
    finally:
        _files.cache_clear()
    task = domain.task_from_file(train)
    assert task.visible == domain.draw(SMALL, len("train")).visible
    assert str(tmp_path) not in task.origin
    assert domain.task_from_origin(task.origin) == task
    assert domain.task_from_file(test).origin.startswith("file:alfworld:json_2.1.1/valid_seen/")


def test_without_data_there_are_generated_games_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    _files.cache_clear()
    assert make_domain().train_files == make_domain().test_files == ()


def test_bad_data_leave_the_generated_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = tmp_path / "cut/json_2.1.1/train/pick_and_place_simple-Mug-None-Desk-301/trial_T1"
    trial.mkdir(parents=True)
    (trial / "game.tw-pddl").write_text(make_domain().draw(SMALL, 0).problem[:5000])
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for folder, words in (("none", "not a folder"), ("empty", "holds no"), ("cut", "not JSON")):
        monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / folder))
        _files.cache_clear()
        (row,) = list_tasks(["alfworld"])
        assert (row.simulator, row.reason, row.train, row.test) == ("alfworld", "", 0, 0)
        assert words in row.note
        console = Console(record=True, width=200)
        print_domains([row], console)
        assert f"alfworld: {row.note}" in console.export_text()
    _files.cache_clear()


def test_games_without_data_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    _files.cache_clear()
    share = DomainShare(name="alfworld", source="files")
    phase = PhaseConfig(name="games", tasks=1, domains=(share,))
    with pytest.raises(TaskError, match=r"no problem files: set \$ALFWORLD_DATA to the folder"):
        TaskStream(StreamConfig(phases=(phase,), probe_tasks=1), 0)


def test_what_is_wrong_is_said() -> None:
    domain = make_domain()
    game = json.loads(domain.draw(SMALL, 0).problem)
    game["pddl_problem"] = game["pddl_problem"].partition("(:goal")[0]
    with pytest.raises(TaskError, match=r"^file:alfworld:a/game\.tw-pddl: .*goal"):
        domain.task(json.dumps(game), "file:alfworld:a/game.tw-pddl")
    with pytest.raises(TaskError, match="no size 'cups'"):
        domain.draw({"cups": (1, 1)}, 0)
    with pytest.raises(TaskError, match="'receptacles' of domain 'alfworld' cannot be"):
        domain.check_size({"receptacles": (0, 1)})
    with pytest.raises(TaskError, match=r"no game\.tw-pddl"):
        domain.task("[]", "here")
    for origin in ("generator:blocks:a=1:0", "generator:alfworld:a:0", "nonsense"):
        with pytest.raises(TaskError, match="not the origin of a task of ALFWorld"):
            domain.task_from_origin(origin)
