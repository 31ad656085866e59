"""Two real processes, half of a batch each, against one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from joint_steps import SCENARIOS, halves, left, make
from safetensors.torch import load_file
from torch import Tensor

Left = dict[str, Tensor]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Left, Left]]:
    """What each of the two processes had in the end, by scenario."""
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("joint_steps.py")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(folder)], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=280) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return {
        name: (
            load_file(folder / f"{name}-0.safetensors"),
            load_file(folder / f"{name}-1.safetensors"),
        )
        for name in SCENARIOS
    }


@pytest.mark.parametrize("scenario", ["adamw", "muon"])
def test_two_halves_are_the_whole(together: dict[str, tuple[Left, Left]], scenario: str) -> None:
    teacher = make(scenario)
    before = left(make(scenario))
    teacher.step([trace for half in halves() for trace in half])
    whole, (mine, _) = left(teacher), together[scenario]
    for name in whole:
        assert torch.allclose(mine[name].double(), whole[name].double(), atol=1e-5), name
    for name in ("book.codes", "book.counts", "book.sums", "book.mean"):
        assert not torch.equal(whole[name], before[name])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_processes_hold_the_same_to_the_bit(
    together: dict[str, tuple[Left, Left]], scenario: str
) -> None:
    mine, theirs = together[scenario]
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name
    if SCENARIOS[scenario][2] > 1:
        assert bool(mine["book.ready"])
        assert float(mine["statistics"][-1]) > 0  # codes were revived
