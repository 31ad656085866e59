"""The page beside a run: a process of its own, at the lowest priority, that ends with the run.

The run binds the port, so that its address is known at once, and hands it to the child. That only
waits, with next to nothing loaded, until a browser asks for the first time; a run that nobody looks
at pays nothing for its page. The child ends when the run closes a pipe, or dies.

    python -m cluster.dashboard.beside FOLDER LISTENING     (as `page_beside` starts it)
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.schema import MonitoringConfig

NICENESS = 19
STOP_DEADLINE_S = 3.0


@contextlib.contextmanager
def page_beside(folder: Path, monitoring: MonitoringConfig) -> Iterator[str | None]:
    """Serve the run's page while the block runs; gives its address, None where none is wanted.

    Raises DashboardError where the configured port cannot be bound.
    """
    if not monitoring.dashboard:
        yield None
        return
    from cluster.dashboard.serving import LOOPBACK, bind

    place = bind(LOOPBACK, monitoring.port)
    number = place.listening.fileno()
    house = str(Path(__file__).resolve().parents[2])
    paths = [house, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    child = subprocess.Popen(
        [sys.executable, "-m", "cluster.dashboard.beside", str(folder), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(number,),
        start_new_session=True,  # Ctrl-C is for the run
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    place.listening.close()
    try:
        yield place.url
    finally:
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main(arguments: list[str]) -> None:
    """Wait for the first visitor or the run's end, then serve until that."""
    folder, number = Path(arguments[0]), int(arguments[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    listening = socket.socket(fileno=number)
    ready, _, _ = select.select([listening, sys.stdin], [], [])
    if sys.stdin in ready:
        return
    from cluster.dashboard.serving import Place, serve

    token = os.environ.get("NESYPR_DASHBOARD_TOKEN")
    serve(Place(listening, token, ""), folder.parent, folder.name, sys.stdin.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
