"""The page's server: one page, and under `/api` what it shows, as JSON and server-sent events.

Reading the runs' files and answering share one thread and take turns of some 20 ms, so that an
update is quick however long a log still has to be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.responses import StreamingResponse as Streamed
from fastapi.staticfiles import StaticFiles

from cluster.dashboard.access import allowed
from cluster.dashboard.compare import compare
from cluster.dashboard.procedures import MostUsed
from cluster.dashboard.prometheus import exposition
from cluster.dashboard.runs import Runs
from configs.errors import NesyprError

PAGE = Path(__file__).parent / "page"
LOOK_EVERY_S = 0.5
"""How often the runs' files are looked at."""
TELL_EVERY_S = 1.0
"""How often a page is told what is new."""
YIELD_S = 0.2
"""How long reading holds back after a request, as a page that opens sends some twenty."""
BEAT_EVERY = 15
"""After so many turns without news a page is told the time all the same."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(runs: Runs, token: str | None = None) -> FastAPI:
    """The application for these runs; `token` None: only requests that name this machine."""

    @contextlib.asynccontextmanager
    async def reading(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_read_for_ever(runs, lambda: asked[0]))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asked = [0.0]
    app = FastAPI(lifespan=reading, docs_url=None, redoc_url=None, openapi_url=None)
    procedures = MostUsed()

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        asked[0] = time.monotonic()
        path = request.url.path
        headers = request.headers
        private = path.startswith("/api") or path == "/metrics" or token is None
        if private and not allowed(
            token, headers.get("host", ""), headers.get("authorization", "")
        ):
            words = "the address' token is missing or wrong: open the address that was printed"
            return JSONResponse({"error": words}, 401 if token else 403, headers=HEADERS)
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(NesyprError)
    async def complain(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 404)

    @app.get("/")
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    @app.get("/api/runs")
    async def listed() -> Response:
        return JSONResponse({"runs": runs.listed(), "only": runs.only})

    @app.get("/api/runs/{name}")
    async def everything(name: str) -> Response:
        return _json(runs.view(name).update())

    @app.get("/api/runs/{name}/events")
    async def events(
        name: str,
        cursor: Annotated[str, Query(max_length=1000)] = "{}",
        last_event_id: Annotated[str | None, Header(max_length=1000)] = None,
    ) -> Response:
        view = runs.view(name)
        start = _cursor(last_event_id or cursor)
        stream = _tell(lambda known: view.update(known), start)
        return Streamed(stream, media_type="text/event-stream")

    @app.get("/api/runs/{name}/codes")
    async def codes(name: str, domain: str | None = None) -> Response:
        view = runs.view(name)
        number = view.figures().get("model.codes") or 0
        return _json(view.codes.maps(number, domain) if number else {})

    @app.get("/api/runs/{name}/summary")
    async def summary(name: str) -> Response:
        return _json(runs.view(name).summary())

    @app.get("/api/runs/{name}/configuration")
    async def configuration(name: str) -> Response:
        return _json(runs.view(name).configuration())

    @app.get("/api/runs/{name}/episodes")
    async def episodes(name: str, domain: str | None = None) -> Response:
        return _json(runs.view(name).kept.listed(domain))

    @app.get("/api/runs/{name}/episodes/{number}")
    async def episode(name: str, number: int) -> Response:
        found = runs.view(name).kept.one(number)
        if found is None:
            return JSONResponse({"error": f"episode {number} was not kept"}, 404)
        return _json(found)

    @app.get("/api/runs/{name}/procedures")
    async def most_used(name: str) -> Response:
        folder = runs.view(name).folder
        return _json(await run_in_threadpool(procedures.of, folder))

    @app.get("/api/compare")
    async def compared(first: str, second: str) -> Response:
        return _json(compare(runs.view(first), runs.view(second)))

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(exposition(runs), media_type="text/plain; version=0.0.4")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


async def _read_for_ever(runs: Runs, asked: Callable[[], float]) -> None:
    """Read what is new; `asked` is when the last request came, which goes before a long log."""
    while True:
        more = runs.read()
        busy = time.monotonic() - asked() < YIELD_S
        await asyncio.sleep(YIELD_S / 2 if more and busy else 0 if more else LOOK_EVERY_S)


async def _tell(
    update: Callable[[dict[str, int] | None], dict[str, Any]], known: dict[str, int] | None
) -> AsyncIterator[str]:
    """Server-sent events: first what the page has not, then what is new, each with its cursor."""
    silent = 0
    state: str | None = None
    while True:
        found = update(known)
        silent += 1
        if found["cursor"] != known or found["now"]["state"] != state or silent >= BEAT_EVERY:
            silent, known, state = 0, found["cursor"], found["now"]["state"]
            yield f"id: {_text(known)}\ndata: {_text(found)}\n\n"
        await asyncio.sleep(TELL_EVERY_S)


def _cursor(text: str) -> dict[str, int] | None:
    """A page's cursor; None, so that it gets everything, where it is none of ours."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not found:
        return None
    return found if all(type(value) is int and value >= 0 for value in found.values()) else None


def _json(values: Any) -> Response:
    return Response(_text(values), media_type="application/json")


def _text(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
