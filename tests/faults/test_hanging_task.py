"""A run whose stream holds a task that hangs its simulator for good, inside foreign code."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
PLACES = 13
"""An action asks for so many nodes that are joined pairwise."""

DOMAIN = f"""(define (domain circles)
  (:requirements :strips :typing)
  (:types node)
  (:predicates (joined ?a - node ?b - node) (dark ?a - node) (lit ?a - node))
  (:action light :parameters (?a - node)
    :precondition (and (dark ?a)) :effect (and (lit ?a) (not (dark ?a))))
  (:action darken-together
    :parameters ({" ".join(f"?n{i}" for i in range(PLACES))} - node)
    :precondition (and {
    " ".join(f"(joined ?n{i} ?n{j})" for i, j in itertools.combinations(range(PLACES), 2))
})
    :effect (and (dark ?n0))))
"""


def problem(groups: int, size: int) -> str:
    """All nodes of different groups are joined: with fewer groups than places no circle exists,
    which a search finds out only after it has tried about size ** groups beginnings."""
    nodes = [(group, number) for group in range(groups) for number in range(size)]
    name = {node: f"node{place}" for place, node in enumerate(nodes)}
    joined = " ".join(f"(joined {name[a]} {name[b]})" for a in nodes for b in nodes if a[0] != b[0])
    return f"""(define (problem p{groups}x{size}) (:domain circles)
  (:objects {" ".join(name.values())} - node)
  (:init {joined} (dark node0) (dark node1)) (:goal (and (lit node0) (lit node1))))
"""


CONFIG = """
name: hanging
seed: 0
stream:
  probe_tasks: 2
  step_limit: 4
  phases:
    - name: mixed
      tasks: 16
      mixing: turns
      domains:
        - {{name: blocks, size: {{blocks: [3, 3]}}, weight: 15}}
        - {{name: {folder}, source: files}}
rendering: {{objects_per_type: 120}}
model:
  layers: 2
  width: 64
  heads: 2
  feed_forward: 128
  max_tokens: 192
  memory: {{slots: 4, width: 32, layer: 1, heads: 2}}
  book: {{codes: 32, width: 16}}
acting:
  actors: 1
  episodes: 16
  request_tasks: 16
  request_deadline_s: {deadline}
  restrict: true
teacher: {{time_limit_s: 1.0}}
distillation:
  batch_traces: 16
  steps_per_version: 4
  min_new_traces: 8
  max_wait_s: 2.0
  total_steps: 100
  warmup_steps: 5
  tasks_per_version: 16
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_task_that_hangs_its_simulator_costs_one_episode(tmp_path: Path) -> None:
    folder = tmp_path / "circles"
    (folder / "test").mkdir(parents=True)
    (folder / "domain.pddl").write_text(DOMAIN)
    (folder / "hangs.pddl").write_text(problem(PLACES - 1, 8))
    for number in range(2, 8):
        (folder / "test" / f"p{number}.pddl").write_text(problem(2, number))
    config = tmp_path / "hanging.yaml"
    config.write_text(CONFIG.format(folder=folder, deadline=6))
    environment = dict(os.environ, NESYPR__FOLDER=str(tmp_path), PYTHONPATH=str(HOUSE))
    ended = subprocess.run(
        [sys.executable, "-m", "cluster.main", "run", str(config)],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads((tmp_path / "hanging" / "summary.json").read_text())
    assert summary["outcome"] == "finished"
    assert summary["accounting"]["closes"]
    assert summary["tasks_done"] == 16
    lines = (tmp_path / "hanging" / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    faulty = [e for e in events if e["event"] == "episode" and e["fault"]]
    assert [e["domain"] for e in faulty] == [str(folder)]
    assert "3 actors were lost with it" in faulty[0]["fault"]
    told = [e["message"] for e in events if e["event"] == "alarm" and e["kind"] == "simulator"]
    assert len(told) == 1
    assert f"task_from_origin('file:{folder}:train/hangs.pddl')" in told[0]
