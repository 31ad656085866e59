"""Hosts made of namespaces: apart, cut off, unplugged, and gone without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from network_hosts import Host, Network, why_not

reason = why_not()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

SERVE = "import socket; s = socket.create_server(('', 5000))\nwhile True: s.accept()[0].close()"
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 5000), timeout=1)"


def reaches(host: Host, address: str, folder: Path) -> bool:
    asked = host.start([sys.executable, "-c", ASK, address], os.environ, folder / "log", folder)
    return asked.wait(20) == 0


def test_hosts_reach_one_another_until_a_link_is_cut(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        left, right = network.host("left"), network.host("right")
        right.start([sys.executable, "-c", SERVE], os.environ, tmp_path / "log", tmp_path)
        deadline = time.monotonic() + 20.0
        while not reaches(left, right.address, tmp_path):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        assert len(right.processes(sys.executable)) == 1
        assert left.processes(sys.executable) == []
        right.cut()
        assert not reaches(left, right.address, tmp_path)
        right.mend()
        assert reaches(left, right.address, tmp_path)
        serving = right.processes(sys.executable)[0]
        right.pull_plug()
        assert not Path(f"/proc/{serving}").exists()
        assert not reaches(left, right.address, tmp_path)
        right.boot()
        assert right.alive
        assert right.processes(sys.executable) == []
    assert not left.alive
    assert not right.alive


def test_hosts_die_with_the_process_that_made_them(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\nfrom network_hosts import Network\n"
        f"network = Network(pathlib.Path({str(tmp_path)!r}))\n"
        "host = network.host('left')\n"
        "print(host._inside.first, network._switch.first, flush=True)\ntime.sleep(60)\n"
    )
    folder = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as made:
        assert made.stdout is not None
        inside = [Path(f"/proc/{number}") for number in made.stdout.readline().split()]
        assert len(inside) == 2
        assert all(path.exists() for path in inside)
        made.kill()
    deadline = time.monotonic() + 10.0
    while any(path.exists() for path in inside):
        assert time.monotonic() < deadline, "a host outlived the process that made it"
        time.sleep(0.02)
