"""A number is the same number on the page, in the report, in Prometheus and in summary.json."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml
from browser import chromium, opened
from dashboard_world import MadeRun, served

from cluster.conduct import known_summary
from cluster.dashboard.prometheus import metric_name
from cluster.dashboard.run_view import flat
from cluster.paper_figures import write_figures
from cluster.progress import number, percent
from cluster.run_folder import RunFolder

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MONITORING = Path(__file__).resolve().parents[2] / "docs" / "monitoring"

TEN = {
    "whole.stream.csr.value": percent,
    "whole.probe.free.csr.value": percent,
    "whole.probe.memory_reliance": percent,
    "continual.forgetting.value": percent,
    "whole.banks.success.entries": str,
    "whole.banks.failure.entries": str,
    "whole.banks.success.hit_rate": percent,
    "whole.book.codes_used": str,
    "whole.book.perplexity": number,
    "whole.rates.decisions_per_s": number,
}
"""Ten figures, and how the report writes them."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = MadeRun(tmp_path_factory.mktemp("runs"))
    made.tell_all()
    return made


@pytest.fixture(scope="module")
def address(run: MadeRun) -> Iterator[str]:
    with served(run.folder.path.parent, run.folder.name) as found:
        deadline = time.monotonic() + 20.0
        while httpx.get(f"{found}api/runs/made").json()["now"]["read"] < 1.0:
            assert time.monotonic() < deadline
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def summary_of(run: MadeRun) -> dict[str, float]:
    return flat(json.loads(run.folder.summary_file.read_text(encoding="utf-8")))


def test_prometheus_and_the_report(run: MadeRun, address: str) -> None:
    summary = summary_of(run)
    told = scraped(httpx.get(f"{address}metrics").text)
    report = run.folder.report_file.read_text(encoding="utf-8")
    for name, words in TEN.items():
        assert told[metric_name(name)] == pytest.approx(summary[name], rel=1e-12), name
        assert words(summary[name]) in report, name


def test_the_page(run: MadeRun, address: str, browser: Browser) -> None:
    summary = summary_of(run)
    with opened(browser, f"{address}#/made/run") as page:
        page.wait_for_selector("text=whole.book.perplexity")
        rows = page.locator("table").first.locator("tbody tr").all_inner_texts()
    shown = dict(row.split("\t") for row in rows)
    for name in TEN:
        assert float(shown[name]) == pytest.approx(summary[name], rel=1e-12), name


def test_the_tables_for_a_paper(run: MadeRun, tmp_path: Path) -> None:
    found = known_summary(RunFolder.look(run.folder.path))
    assert found is not None
    written = write_figures(run.folder, found, tmp_path)
    endings = {path.suffix for path in written}
    assert endings == {".svg", ".pdf", ".csv", ".txt"}
    with (tmp_path / "figures.csv").open(encoding="utf-8", newline="") as file:
        rows = dict(list(csv.reader(file))[1:])
    summary = summary_of(run)
    for name in TEN:
        assert float(rows[name]) == summary[name], name
    captions = (tmp_path / "captions.txt").read_text(encoding="utf-8")
    assert "n = 120 tasks" in captions
    assert "95 %" in captions
    assert (tmp_path / "bank-growth.pdf").read_bytes().startswith(b"%PDF")


def test_alerts_and_panels_ask_for_what_there_is(run: MadeRun, address: str) -> None:
    told = set(scraped(httpx.get(f"{address}metrics").text))
    alerts = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    dashboard = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for query in asked:
        names = re.findall(r"nesypr_\w+", query)
        assert names
        assert set(names) <= told, query


def test_promtool_finds_nothing_wrong(address: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool (Debian: apt-get install prometheus)")
    for words in (("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        subprocess.run([promtool, *words], cwd=MONITORING, check=True, timeout=30)
    text = httpx.get(f"{address}metrics").content
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert done.returncode in (0, 3), done.stderr.decode()  # 3: advice on names
    assert b"error while linting" not in done.stderr


def scraped(text: str) -> dict[str, float]:
    """The samples of an exposition, by name (the last of those with several labels)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pairs = [line.rsplit(" ", 1) for line in lines]
    return {name.split("{")[0]: float(value) for name, value in pairs}
