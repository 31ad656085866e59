"""Which episodes are kept word for word, and which codes are counted of all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cluster.code_counts import TASKS, CodeCounts
from cluster.episode_log import EpisodeLog
from cluster.run_folder import RunFolder
from shared_memory.records import Decision, Episode

VOCABULARY = ("<pad>", "<domain>", "<goal>", "blocks", "a", "b")


def decision(number: int, codes: Sequence[int], tokens: tuple[int, ...] = ()) -> Decision:
    return Decision(number, np.array(codes, dtype=np.uint16), "pickup a", True, tokens)


EPISODE = Episode(
    episode=0,
    task_index=0,
    task_digest="0" * 32,
    domain="blocks",
    phase=0,
    book_version=3,
    success=True,
    conditions_met=1,
    conditions=1,
    steps=2,
    decisions=(decision(0, [1, 2], (1, 3, 4)), decision(1, [2, 2], (1, 3, 4, 1, 3, 5))),
    actor="actor-0",
    seconds=0.5,
    hits_success=1,
    hits_failure=0,
    near=("success", ""),
    alone=("pickup b", ""),
)


def test_every_few_episodes_one_is_kept_with_what_banks_changed(tmp_path: Path) -> None:
    log = EpisodeLog(RunFolder(tmp_path), 2, VOCABULARY)
    for number in range(5):
        log.take(replace(EPISODE, episode=number, task_index=number))
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["episode"] for line in lines] == [0, 2, 4]
    first, second = lines[0]["decisions"]
    assert first == {
        "text": "<domain> blocks a",
        "action": "pickup a",
        "accepted": True,
        "codes": [1, 2],
        "near": "success",
        "alone": "pickup b",
    }
    assert second["text"] == "<domain> blocks b", "what stands before was forgotten"
    assert second["alone"] is None


def test_without_a_vocabulary_and_from_older_actors_less_is_known(tmp_path: Path) -> None:
    log = EpisodeLog(RunFolder(tmp_path), 1, None)
    log.take(replace(EPISODE, near=(), alone=()))
    found = json.loads(log.path.read_text())["decisions"][0]
    assert found["text"] is None
    assert "near" not in found


def test_codes_are_counted_by_domain() -> None:
    counts = CodeCounts()
    assert counts.take_out() is None
    for number in range(TASKS):
        assert not counts.full
        domain = "hanoi" if number == 0 else "blocks"
        counts.take(replace(EPISODE, episode=number, domain=domain, phase=number // 60))
    assert counts.full
    found = counts.take_out()
    assert found is not None
    assert (found.tasks, found.phase) == (TASKS, 1)
    blocks, hanoi = found.domains
    assert (blocks.domain, blocks.tasks, blocks.codes) == ("blocks", TASKS - 1, (1, 2))
    assert blocks.counts == (TASKS - 1, 3 * (TASKS - 1))
    assert hanoi.counts == (1, 3)
    assert counts.take_out() is None
