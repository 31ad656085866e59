"""The index of real games: what it holds, when it is made anew, and what it refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from alfworld_archive import unpack

import tasks.alfworld.games as games_module
from tasks.alfworld.engine import GameEngine
from tasks.alfworld.games import GAME_FILE, data_folder, game_index, read_index
from tasks.alfworld.generate import draw_game, game_text, sizes
from tasks.errors import TaskError

FOLDERS = {
    "train": ("pick_and_place_simple-Mug-None-Desk-1", "look_at_obj_in_light-Pen-None-DeskLamp-2"),
    "valid_seen": ("pick_two_obj_and_place-Mug-None-Desk-1",),
    "valid_unseen": (
        "pick_heat_then_place_in_recep-Egg-None-Fridge-3",
        "pick_cool_then_place_in_recep-AppleSliced-None-Fridge-3",
        "pick_and_place_with_movable_recep-Pen-Bowl-Desk-3",
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder in ALFWorld's layout, of generated games."""
    folder = tmp_path / "data"
    rng = random.Random(0)
    for split, names in FOLDERS.items():
        for name in names:
            trial = folder / "json_2.1.1" / split / name / "trial_T1"
            trial.mkdir(parents=True)
            (trial / GAME_FILE).write_text(game_text(draw_game(rng, sizes())))
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The games' files that are read."""
    files: list[Path] = []
    read: Callable[[Path], str] = games_module._read_text

    def noted(file: Path) -> str:
        files.append(file)
        return read(file)

    monkeypatch.setattr(games_module, "_read_text", noted)
    return files


def test_games_are_read_once_and_again_when_they_change(
    data: Path, tmp_path: Path, opened: list[Path]
) -> None:
    first = read_index(data, tmp_path / "cache")
    assert [(game.split, game.task_type) for game in first.games] == [
        ("train", "look_at_obj_in_light"),
        ("train", "pick_and_place_simple"),
        ("valid_seen", "pick_two_obj_and_place"),
        ("valid_unseen", "pick_heat_then_place_in_recep"),
    ]
    assert len(opened) == 4
    assert read_index(data, tmp_path / "cache") == first
    assert len(opened) == 4
    changed = first.file(first.games[0])
    changed.write_text(game_text(draw_game(random.Random(9), sizes())))
    second = read_index(data, tmp_path / "cache")
    assert len(opened) == 8
    assert second.games[0].digest != first.games[0].digest
    assert second.games[1:] == first.games[1:]
    changed.unlink()
    assert read_index(data, tmp_path / "cache").games == first.games[1:]


def test_games_are_selected_and_played(data: Path, tmp_path: Path) -> None:
    index = read_index(data, tmp_path / "cache")
    [game] = index.select("train", ["pick_and_place_simple"])
    engine = GameEngine()
    engine.load(index.text(game))
    assert engine.reset().endswith(f"Your task is to: {game.statement}")
    assert game.steps == len(engine.walkthrough) > 0
    assert len(index.select("train")) == 2
    with pytest.raises(TaskError, match="no split 'test'"):
        index.select("test")
    with pytest.raises(TaskError, match="no task type 'cook'"):
        index.select("train", ["cook"])


@pytest.mark.parametrize(
    "broken",
    ["{", "[]", '{"format": 1}', None, "steps", "path"],
)
def test_a_broken_cache_is_made_anew(data: Path, tmp_path: Path, broken: str | None) -> None:
    first = read_index(data, tmp_path / "cache")
    [cache] = (tmp_path / "cache").iterdir()
    whole = cache.read_text()
    content = json.loads(whole)
    if broken is None:
        content["games"] = []
    elif broken == "steps":
        content["games"][0]["steps"] = "three"
    elif broken == "path":
        content["games"][0]["path"] = "../../etc/passwd"
    cache.write_text(broken if broken and broken[0] in "{[" else json.dumps(content))
    assert read_index(data, tmp_path / "cache") == first
    assert cache.read_text() == whole


def test_a_cache_that_cannot_be_written_is_no_error(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert len(read_index(data, tmp_path / "file").games) == 4
    assert "cannot be kept" in caplog.text


def test_what_is_missing_or_broken_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(TaskError, match="ALFWORLD_DATA is not set"):
        game_index()
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(TaskError, match="not a folder"):
        game_index()
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(TaskError, match="holds no json_2"):
        game_index()
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    assert data_folder() == data.resolve()
    assert len(game_index().games) == 4
    file = game_index().file(game_index().games[0])
    for text in ("{", "[]", '{"pddl_problem": ""}', '{"pddl_problem": "", "grammar": ""}'):
        file.write_text(text)
        with pytest.raises(TaskError, match="is broken"):
            read_index(data, tmp_path / "cache")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match="cannot be read"):
        read_index(data, tmp_path / "cache")


def test_no_games_or_none_that_can_be_won(tmp_path: Path) -> None:
    trial = tmp_path / "json_2.1.1" / "train" / FOLDERS["train"][0] / "trial_T1"
    trial.mkdir(parents=True)
    with pytest.raises(TaskError, match="holds no games"):
        read_index(tmp_path, tmp_path / "cache")
    game = draw_game(random.Random(0), sizes()) | {"solvable": False}
    (trial / GAME_FILE).write_text(game_text(game))
    with pytest.raises(TaskError, match="can be won"):
        read_index(tmp_path, tmp_path / "cache")


def test_real_games(tmp_path: Path) -> None:
    files = unpack("train", 12, tmp_path)
    index = read_index(tmp_path, tmp_path / "cache")
    assert sorted(index.file(game) for game in index.select("train")) == sorted(files)
    assert all(0 < game.steps <= 10 for game in index.games)
