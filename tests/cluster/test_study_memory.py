"""`nesypr study memory` as a whole, with two small models side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import study_memory
from cluster.settings import load_settings
from cluster.studies import StudyOrder, StudySize


def test_two_models_from_plans_to_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_memory, "CODES", (16,))
    config = load_settings(
        "smoke", ["distillation.total_steps=6", "stream.step_limit=4", "acting.episodes=8"]
    ).config
    told: list[str] = []
    order = StudyOrder(
        config, StudySize(traces=8, tasks=4, processes=1, parallel=2), tmp_path, told.append
    )
    page = study_memory.run_study(order)
    text = page.path.read_text(encoding="utf-8")
    assert "| continuous | – |" in text
    assert "| K = 16 | 32 |" in text  # 8 chunks of 4 bits
    assert "| blocks |" in text
    assert "| gripper |" in text
    left = {path.name for path in tmp_path.iterdir()}
    cells = {"continuous-seed-0", "K-16-seed-0"}
    assert {f"{cell}.json" for cell in cells} | cells <= left
    assert {path.name for path in (tmp_path / "K-16-seed-0").iterdir()} == {"model.safetensors"}
    told.clear()
    again = study_memory.run_study(order)
    assert again.result == page.result
    assert told == []
