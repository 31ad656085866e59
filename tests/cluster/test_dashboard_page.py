"""The page itself, in headless Chromium: what is seen, that it moves, and who can use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium, faults, opened
from dashboard_world import MadeRun, episode_of, health, served

from cluster.observer import Alarm

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VIEWS = ("overview", "codes", "phases", "episodes", "compare", "run")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on two finished runs."""
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("first", "second")):
        run = MadeRun(root, name, seed)
        run.keep(0, 32)
        run.tell_all()
    with served(root) as address:
        yield address


def ready(page: Page) -> None:
    page.wait_for_selector("#standing:has-text('120 of 120')")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_every_view_is_usable_by_all(
    browser: Browser, finished: str, scheme: str, width: int
) -> None:
    screen = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with opened(browser, finished, **screen) as page:
        for view in VIEWS:
            page.goto(f"{finished}#/second/{view}")
            ready(page)
            page.wait_for_selector("#view:not(:has-text('Reading'))")
            assert faults(page) == [], view
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view


def test_the_first_screen_tells_what_matters(browser: Browser, finished: str) -> None:
    with opened(browser, f"{finished}#/first/overview") as page:
        ready(page)
        tiles = page.inner_text("dl.tiles")
        for name in ("CSR held-out", "Forgetting", "M+ entries", "Codes used", "Perplexity"):
            assert name in tiles
        assert page.locator("canvas").count() >= 8
        assert "actor-0" in page.inner_text("main")
        assert "No alarm stands." in page.inner_text("#alarms")
        plots = page.locator("figure")
        for number in range(plots.count()):
            behind = plots.nth(number).locator("summary")
            behind.click()
            plots.nth(number).locator("tbody tr").first.wait_for(state="attached", timeout=5_000)


def test_keys_are_enough(browser: Browser, finished: str) -> None:
    with opened(browser, f"{finished}#/first/overview") as page:
        ready(page)
        plot = page.locator(".plot").first
        plot.focus()
        before = page.locator("figure").first.inner_text()
        page.keyboard.press("Home")
        assert page.locator("figure").first.inner_text() != before
        assert "at 1 tasks" in (plot.get_attribute("aria-label") or "")
        page.goto(f"{finished}#/first/episodes")
        page.wait_for_selector("text=Decision 1 of 2")
        page.get_by_role("button", name="Next").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Decision 2 of 2")


def test_an_episode_step_by_step(browser: Browser, finished: str) -> None:
    with opened(browser, f"{finished}#/first/episodes") as page:
        page.get_by_role("button", name=re.compile("^✓ 32")).click()
        page.wait_for_selector("text=alone the model would have answered “pickup b”")
        assert "on a b" in page.inner_text(".text")


def test_only_differences_of_two_runs(browser: Browser, finished: str) -> None:
    with opened(browser, f"{finished}#/first/compare") as page:
        page.wait_for_selector("text=1 settings and 0 figures differ")
        assert page.locator("canvas").count() == 4


def test_it_follows_a_run_that_goes_on(browser: Browser, tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.tell_all(finished=False)
    run.tell(health("actor-0", "actor-1"))
    with (
        served(tmp_path, "made") as address,
        opened(browser, f"{address}#/made/overview") as page,
    ):
        page.wait_for_selector("#state:has-text('running')")
        ready(page)
        picture = page.locator("figure canvas").first
        before = picture.screenshot()
        for number in range(200, 260):
            run.tell(episode_of(number))
        page.wait_for_selector("#standing:has-text('180 of 120')", timeout=5_000)
        assert picture.screenshot() != before, "the curve moves"
        run.tell(Alarm(kind="actor_died", message="actor-1 died: killed"))
        run.tell(health("actor-0", "actor-1.1", up=False))
        page.wait_for_selector("#alarms .alarm:has-text('actor-1 died')", timeout=5_000)
        page.wait_for_selector("text=○ starts")
        assert faults(page) == []
        run.tell(health("actor-0", "actor-1.1"))
        page.wait_for_selector("#alarms:has-text('No alarm stands.')", timeout=5_000)
        run.end()
        page.wait_for_selector("#state:has-text('unfinished')", timeout=10_000)


def test_it_comes_back_with_its_server(browser: Browser, tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.tell_all()
    with served(tmp_path, token="a token of some length") as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}#token=a%20token%20of%20some%20length")
        ready(page)
        assert "token" not in page.url
    page.wait_for_selector("#link:has-text('No word from the server')", timeout=10_000)
    context.close()
