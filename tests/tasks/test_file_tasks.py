"""Tasks of files are kept by their size, so that memory is flat however many real games come."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.alfworld.domain import _files, make_domain
from tasks.domains import get_domain
from tasks.file_tasks import MOST_CHARACTERS, FileTasks
from tasks.stream import TaskStream

SMALL = {"receptacles": (4, 6), "wanted": (1, 1), "distractors": (0, 3)}
GAMES = 160
REAL_SIZE = 90_000
"""Characters of a real game."""


def test_what_was_asked_for_last_is_kept() -> None:
    domain = get_domain("blocks")
    files = domain.train_files[:3]
    sizes = [len(domain.task_from_file(file).problem) for file in files]
    tasks = FileTasks(sum(sizes) - 1)
    first, second, _ = (tasks.task("blocks", file) for file in files)
    assert tasks.characters == sum(sizes[1:])
    assert tasks.task("blocks", files[1]) is second
    again = tasks.task("blocks", files[0])
    assert again is not first
    assert again == first
    assert tasks.task("blocks", files[1]) is second
    assert FileTasks(0).task("blocks", files[0]) == first


def test_memory_is_flat_over_games_as_large_as_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = make_domain()
    contents = [json.loads(domain.draw(SMALL, seed).problem) for seed in range(4)]
    for number in range(GAMES + 1):
        split = "valid_seen" if number == 0 else "train"
        content = contents[0] if number == 0 else contents[1 + number % 3]
        trial = tmp_path / f"json_2.1.1/{split}/pick_and_place_simple-Mug-None-Desk-301"
        trial /= f"trial_T{number}"
        trial.mkdir(parents=True)
        game = json.dumps(content | {"walkthrough_of_a_real_game": f"{number} " * (REAL_SIZE // 4)})
        (trial / "game.tw-pddl").write_text(game)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _files.cache_clear()
    simulator = domain.make_simulator()
    share = DomainShare(name="alfworld", source="files")
    phase = PhaseConfig(name="games", tasks=4 * GAMES, domains=(share,))
    try:
        stream = TaskStream(StreamConfig(phases=(phase,), probe_tasks=1), 0)
        tracemalloc.start()
        met: set[str] = set()
        for task in stream:
            assert len(task.problem) > REAL_SIZE // 2
            if task.origin not in met and len(met) < 8:
                simulator.reset(task)
                assert simulator.step(simulator.applicable_actions()[0])
            met.add(task.origin)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        _files.cache_clear()
    assert len(met) * REAL_SIZE // 2 > MOST_CHARACTERS + 2_000_000
    assert held < MOST_CHARACTERS + 2_000_000
