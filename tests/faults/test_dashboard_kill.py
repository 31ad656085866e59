"""The page beside a real run: it loads, its curves move, and a killed actor shows soon."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cluster"))

from browser import chromium, faults, opened
from local_run import Run

from cluster.resources import descendants

SHOWN_WITHIN_S = 10.0
LONG = (
    "stream.phases=[{name: all, tasks: 3000, domains: ["
    "{name: ferry, size: {cars: [2, 4], locations: [3, 5]}}, "
    "{name: gripper, size: {balls: [2, 4], rooms: [2, 4]}}]}]"
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    settings = ("name=fault", "acting.actors=2", LONG, "monitoring.episodes_every=4")
    words = [word for setting in settings for word in ("--set", setting)]
    found = Run(tmp_path, "run", "smoke", *words)
    yield found
    found.end()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_run_and_a_killed_actor(run: Run) -> None:
    lines = run.until(
        lambda: [one for one in run.log.read_text().splitlines() if one.startswith("page ")],
        "address of the page",
    )
    address = lines[0].split()[1]
    with chromium() as browser, opened(browser, address) as page:
        page.wait_for_selector("#state:has-text('running')")
        page.wait_for_selector("text=● up", timeout=180_000)
        page.wait_for_selector("figure canvas", timeout=180_000)
        picture = page.locator("figure canvas").first
        before, deadline = picture.screenshot(), time.monotonic() + 60.0
        while picture.screenshot() == before:
            assert time.monotonic() < deadline, "the curve does not move"
            time.sleep(0.5)
        os.kill(run.worker("ActorProcess"), signal.SIGKILL)
        page.wait_for_selector("#alarms .alarm:has-text('died')", timeout=1000 * SHOWN_WITHIN_S)
        assert faults(page) == []
        page.wait_for_selector("#alarms:has-text('No alarm stands.')", timeout=180_000)
    beside = [process for process in descendants(run.process.pid) if _is_page(process)]
    assert len(beside) == 1
    run.process.send_signal(signal.SIGINT)
    run.wait()
    assert not _is_page(beside[0])


def _is_page(process: int) -> bool:
    try:
        return b"dashboard.beside" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
