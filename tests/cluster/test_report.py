from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_events import fake_run

from cluster.figures import SummaryBuilder
from cluster.metrics_log import MetricsLog
from cluster.observer import Observers
from cluster.report import render_report
from cluster.run_folder import RunFolder
from cluster.tensorboard import TensorBoard

VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.titles: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        for key in ("src", "href", "xlink:href"):
            if values.get(key) and not str(values[key]).startswith("#"):
                self.fetched.append(str(values[key]))
        assert tag != "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "figcaption":
            self.titles.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("runs")
    with RunFolder.create(root, "fake", numbered=False) as folder:
        builder = SummaryBuilder()
        log = MetricsLog(folder.metrics_file)
        for seconds, event in fake_run():
            for observer in (builder, log):
                observer.observe(event, seconds)
        log.close()
        summary = builder.build(1.0e9)
        assert summary is not None
        return render_report(folder, summary)


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert parser.fetched == []
    assert len(parser.ids) == len(set(parser.ids))
    assert "@import" not in page
    assert "url(http" not in page


def test_the_page_has_all_curves(page: str) -> None:
    parser = Page()
    parser.feed(page)
    for title in (
        "CSR on the stream",
        "CSR on held-out tasks, free decoding",
        "CSR on held-out tasks, admissible actions only",
        "Bank growth",
        "Hit rate",
        "Codes",
        "Perplexity",
        "Quantisation error",
        "Staleness",
        "Loss",
    ):
        assert title in parser.titles
    assert page.count("<svg") == len(parser.titles)


def test_the_page_fits_phones_and_both_themes(page: str) -> None:
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    for svg in re.findall(r"<svg[^>]*>", page):
        assert "viewBox" in svg
        assert " width=" not in svg
        assert 'role="img"' in svg
    assert "#010203" not in page
    assert "currentColor" in page


def test_words_of_a_run_are_escaped(page: str) -> None:
    assert "actor-0 &lt;died&gt; &amp; was started again" in page


def test_tensorboard_files_hold_the_curves(tmp_path: Path) -> None:
    observers = Observers([TensorBoard(tmp_path / "tensorboard")])
    for _, event in fake_run():
        observers.emit(event)
    observers.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    data = file.read_bytes()
    for tag in (b"stream/csr", b"book/perplexity", b"bank/entries_success", b"probe/free/phase1"):
        assert tag in data
