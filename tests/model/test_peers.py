"""Sums, agreed tensors and one book over two real processes, and over one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from peer_process import PLACES, STEPS, left, memories, mine, some_rows, started_book
from safetensors.torch import load_file

from model.peers import PeerRows, from_first_peer, peer_count, peer_rank, sum_over_peers


def test_one_process_alone_is_all_there_is() -> None:
    assert (peer_count(), peer_rank()) == (1, 0)
    given = mine(0)
    assert all(a is b for a, b in zip(sum_over_peers(*given), given))
    assert from_first_peer(given[0]) is given[0]
    rows = PeerRows(some_rows()[0])
    assert len(rows) == 3
    assert rows[torch.tensor([2, 0])].tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_two_processes_agree(tmp_path: Path) -> None:
    script = Path(__file__).with_name("peer_process.py")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=280) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    both = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    assert [found.pop("who").tolist() for found in both] == [[2, 0], [2, 1]]
    for name, value in both[0].items():
        assert torch.equal(value, both[1][name]), name
    for name, one, other in zip(("integers", "scalar", "wide"), mine(0), mine(1)):
        found = both[0].pop(name)
        assert found.dtype == one.dtype
        assert torch.equal(found, one + other)
    assert both[0].pop("first").tolist() == [7.0]
    together = torch.cat(some_rows())
    assert torch.equal(both[0].pop("rows"), together[PLACES])
    assert torch.equal(both[0].pop("all"), together)
    whole = started_book()
    for step in range(STEPS):
        whole(torch.cat(memories(step)))
    for name, value in left(whole).items():
        assert torch.allclose(both[0][name], value, atol=1e-5), name
