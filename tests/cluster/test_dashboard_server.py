"""The page's server over real connections: answers, events, who may ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dashboard_world import MadeRun, episode_of, served

from cluster.dashboard.access import chosen_token, is_loopback
from cluster.dashboard.serving import DashboardError, bind
from configs.errors import ConfigurationError

TOKEN = "a token of more than sixteen letters"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeRun]:
    run = MadeRun(tmp_path)
    run.tell_all(finished=False)
    run.keep(0, 32)
    yield run
    run.let_go()


def test_all_that_the_page_asks_for(made: MadeRun) -> None:
    with (
        served(made.folder.path.parent) as address,
        httpx.Client(base_url=address, timeout=20.0) as client,
    ):
        assert client.get("/api/runs").json()["runs"] == [{"name": "made", "state": "running"}]
        client.get("/api/runs/made")
        for _ in range(100):
            found = client.get("/api/runs/made").json()
            if found["now"]["tasks_done"] == 120:
                break
        assert found["tables"]["stream"]["tasks"][-1] == 120
        assert client.get("/api/runs/made/codes").json()["domains"] == ["blocks", "gripper"]
        assert client.get("/api/runs/made/summary").json()["tasks_done"] == 120
        assert client.get("/api/runs/made/configuration").json()["seed"] == 0
        assert [one["episode"] for one in client.get("/api/runs/made/episodes").json()] == [32, 0]
        assert client.get("/api/runs/made/episodes/32").json()["decisions"]
        assert client.get("/api/runs/made/episodes/5").status_code == 404
        compared = client.get("/api/compare", params={"first": "made", "second": "made"}).json()
        assert compared["settings"] == []
        for name in ("nobody", "..", "%2e%2e%2fmade"):
            assert client.get(f"/api/runs/{name}").status_code == 404
        answer = client.get("/api/runs/made/procedures")
        assert answer.status_code == 404
        assert "made" in answer.json()["error"]
        page = client.get("/")
        assert "nesypr" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for script in ("app.js", "chart.js", "vendor/uPlot.iife.min.js", "style.css"):
            assert client.get(f"/page/{script}").status_code == 200


def test_events_tell_what_is_new(made: MadeRun) -> None:
    with (
        served(made.folder.path.parent, "made") as address,
        httpx.Client(base_url=address, timeout=20.0) as client,
        client.stream("GET", "/api/runs/made/events") as stream,
    ):
        told = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        first = next(told)
        while first["now"]["tasks_done"] < 120:
            first = next(told)
        made.tell(episode_of(200))
        news = next(told)
        while not news["tables"]:
            news = next(told)
        assert news["tables"]["stream"]["tasks"] == [121]
        assert news["fresh"] == []


def test_who_may_ask(made: MadeRun) -> None:
    root = made.folder.path.parent
    with served(root) as address:
        assert httpx.get(f"{address}api/runs").status_code == 200
        foreign = httpx.get(f"{address}api/runs", headers={"Host": "evil.example"})
        assert foreign.status_code == 403
    with served(root, token=TOKEN) as address:
        assert httpx.get(address).status_code == 200, "the page itself tells nothing"
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            for path in ("api/runs", "api/runs/made/events", "metrics"):
                assert httpx.get(f"{address}{path}", headers=header).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}", "Host": "run.example"}
        assert httpx.get(f"{address}api/runs", headers=right).status_code == 200


def test_only_loopback_goes_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NESYPR_DASHBOARD_TOKEN", raising=False)
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "[::1]", "localhost")] == [True] * 4
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.0.2.1", "evil.example"))
    assert chosen_token("127.0.0.1") is None
    made = chosen_token("0.0.0.0")
    assert made is not None
    assert len(made) >= 32
    monkeypatch.setenv("NESYPR_DASHBOARD_TOKEN", "short")
    with pytest.raises(ConfigurationError, match="at least 16"):
        chosen_token("0.0.0.0")
    monkeypatch.setenv("NESYPR_DASHBOARD_TOKEN", TOKEN)
    place = bind("127.0.0.1", None)
    assert place.url.endswith(f"#token={TOKEN}")
    place.listening.close()


def test_a_taken_port_is_one_sentence() -> None:
    place = bind(port=None)
    port = place.listening.getsockname()[1]
    with pytest.raises(DashboardError, match="choose another with --host and --port"):
        bind(port=port)
    place.listening.close()
