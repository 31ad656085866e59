"""A run of this machine in a process of its own, to be watched, killed and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.resources import descendants

HOUSE = Path(__file__).resolve().parents[2]
DEADLINE_S = 80.0


class Run:
    """`nesypr` with some words in a process of its own; it makes or goes on with run `name`."""

    def __init__(
        self, root: Path, *words: str, name: str = "fault", deadline_s: float = DEADLINE_S
    ) -> None:
        self.root = root
        self.folder = root / name
        self.log = root / "output.txt"
        self._deadline_s = deadline_s
        environment = dict(os.environ, NESYPR__FOLDER=str(root), PYTHONPATH=str(HOUSE))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster.main", *words],
                cwd=HOUSE,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in events if event["event"] == kind]

    def until(self, true: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + self._deadline_s
        while time.monotonic() < deadline:
            found = true()
            if found:
                return found
            assert self.process.poll() is None, f"ended before {what}:\n{self.log.read_text()}"
            time.sleep(0.05)
        raise AssertionError(f"no {what} within {self._deadline_s:.0f} s:\n{self.log.read_text()}")

    def worker(self, name: str) -> int:
        """Process number of the Ray worker that runs an actor of this class, or of a program."""

        def find() -> int | None:
            for process in descendants(self.process.pid):
                try:
                    command = Path(f"/proc/{process}/cmdline").read_bytes()
                except OSError:
                    continue
                if command.startswith((f"ray::{name}".encode(), name.encode())):
                    return process
            return None

        found = self.until(find, name)
        assert isinstance(found, int)
        return found

    def wait(self, deadline_s: float | None = None) -> int:
        try:
            return self.process.wait(deadline_s or self._deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs:\n{self.log.read_text()}") from None

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            for process in descendants(self.process.pid):
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(10)
