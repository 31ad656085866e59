"""`nesypr bench dashboard`: the live page on a long run, how soon it is there and what news cost.

A log of 250,000 episodes with their plans, versions and banks is made up (over a million points on
the page's plots), served, and looked at as a page does: everything at first, then what is new after
each second's worth of events. Where Chromium and Playwright are installed, the time to the first
painted curve is measured in the browser too, on the server that has read the log and on one that
begins to.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.dashboard.run_view import RunView
from cluster.run_folder import RunFolder

EPISODES = 250_000
VERSION_EVERY = 64
BANK_EVERY = 100
UPDATES = 50
NEW_EPISODES = 20
"""Episodes that end between two updates."""
DEADLINE_S = 120.0


def bench_dashboard() -> dict[str, Any]:
    """Sizes, seconds to read, and milliseconds for the first state and for an update."""
    with tempfile.TemporaryDirectory() as root:
        folder = _make_run(Path(root))
        view = RunView(RunFolder.look(folder))
        began = time.perf_counter()
        while view.read(1.0):
            pass
        read_s = time.perf_counter() - began
        first_ms, news_ms, cursor = _updates(view, folder)
        result = {
            "episodes": EPISODES,
            "log_megabytes": round((folder / "metrics.jsonl").stat().st_size / 1e6, 1),
            "points": view.now()["points"],
            "read_all_s": read_s,
            "whole_state_ms": first_ms,
            "whole_state_kilobytes": len(json.dumps(view.update())) / 1e3,
            "update_ms_median": statistics.median(news_ms),
            "update_ms_most": max(news_ms),
            **_in_browser(folder),
        }
        assert cursor["any"] >= EPISODES
        return result


def _updates(view: RunView, folder: Path) -> tuple[float, list[float], dict[str, int]]:
    """Milliseconds for everything, and for each of some updates with what they read."""
    began = time.perf_counter()
    cursor = view.update()["cursor"]
    first_ms = 1000 * (time.perf_counter() - began)
    news_ms = []
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:
        for update in range(UPDATES):
            start = EPISODES + update * NEW_EPISODES
            log.writelines(
                line for number in range(start, start + NEW_EPISODES) for line in _lines(number)
            )
            log.write(_version(start))
            log.flush()
            began = time.perf_counter()
            view.read(1.0)
            found = view.update(cursor)
            json.dumps(found)
            news_ms.append(1000 * (time.perf_counter() - began))
            cursor = found["cursor"]
    return first_ms, news_ms, cursor


def _in_browser(folder: Path) -> dict[str, Any]:
    """Seconds from opening the page to its first painted curve, where there is a browser."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        return {"first_paint": "not measured: it needs Chromium and the playwright package"}
    with _served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])

        def paint() -> float:
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(f"{address}#/{folder.name}/overview")
            page.wait_for_selector("figure canvas", timeout=1000 * DEADLINE_S)
            seconds = time.perf_counter() - began
            page.close()
            return seconds

        cold = paint()
        _wait(lambda: _state(address, folder.name)["now"]["read"] == 1.0)
        warm = [paint() for _ in range(5)]
        browser.close()
    return {"first_paint_while_reading_s": cold, "first_paint_s": statistics.median(warm)}


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """`nesypr dashboard` on the folder in a process of its own."""
    words = [sys.executable, "-m", "cluster.main", "dashboard", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            _wait(lambda: _state(address, folder.name))
            yield address
        finally:
            process.terminate()


def _state(address: str, name: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}api/runs/{name}", timeout=DEADLINE_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _wait(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page's server has not read the log within {DEADLINE_S:.0f} s")
        time.sleep(0.2)


def _make_run(root: Path) -> Path:
    """A made-up run's folder."""
    folder = root / "long"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: long\n", encoding="utf-8")
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as log:
        started = {"name": "long", "seed": 0, "resumed": False, "tasks": 2 * EPISODES}
        log.write(_line(0, "run_started", **started, parameters=1_000_000, codes=256))
        log.write(_line(0, "phase_started", phase=0, name="all", tasks=2 * EPISODES))
        for number in range(EPISODES):
            log.writelines(_lines(number))
            if number % VERSION_EVERY == 0:
                log.write(_version(number))
            if number % BANK_EVERY == 0:
                log.write(_banks(number))
    return folder


def _lines(number: int) -> tuple[str, str]:
    """The lines of an episode and its plan."""
    task = {"task_index": number, "domain": "blocks", "phase": 0}
    episode = _line(
        number,
        "episode",
        episode=number,
        **task,
        success=number * 7919 % 11 > 3,
        conditions_met=1,
        conditions=2,
        steps=6,
        accepted=5,
        version=number // VERSION_EVERY,
        staleness=number % 3,
        seconds=0.4,
        actor="actor-0",
        hits_success=number % 5,
        hits_failure=number % 2,
        decisions=6,
        fault="",
    )
    plan = {"status": "solved", "plan_length": 5, "seconds": 0.01, "planner": "mimir-astar"}
    return episode, _line(number, "planned", **task, **plan, cached=False, queued=True)


def _version(number: int) -> str:
    version = 1 + number // VERSION_EVERY
    return _line(
        number,
        "version",
        version=version,
        phase=0,
        steps=25 * version,
        loss=1.0 / version,
        commitment=0.1,
        learning_rate=1e-3,
        traces_new=32,
        traces_replayed=32,
        tokens=4000,
        seconds=1.0,
        codes=256,
        codes_used=200,
        codes_dead=56,
        codes_revived=0,
        perplexity=150.0,
        quantisation_error=0.1,
    )


def _banks(number: int) -> str:
    banks = [
        {
            "domain": "blocks",
            "sign": sign,
            "entries": number,
            "unique": number,
            "submitted": 2 * number,
            "admitted": number,
            "duplicates": number,
            "retired": 0,
            "bytes": 100 * number,
        }
        for sign in ("success", "failure")
    ]
    return _line(number, "bank", phase=0, banks=banks)


def _line(number: int, event: str, **keys: Any) -> str:
    at = round(0.05 * number, 3)
    return json.dumps({"time": 1.7e9 + at, "at": at, "event": event, **keys}) + "\n"
