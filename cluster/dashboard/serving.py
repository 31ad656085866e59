"""Binding the page's port, serving it until told to stop, and the address to open."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from cluster.dashboard.access import address, chosen_token
from configs.errors import NesyprError

PORT = 7717
LOOPBACK = "127.0.0.1"
GOODBYE_S = 1
"""How long pages that are open may keep a server that stops."""


class DashboardError(NesyprError):
    """The page cannot be served."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bound socket, who may ask there, and what to open."""

    listening: socket.socket
    token: str | None
    url: str


def bind(host: str = LOOPBACK, port: int | None = None) -> Place:
    """Bind the page's port; none given takes `PORT`, or any where that is taken.

    Raises DashboardError where it cannot be, ConfigurationError for an unsafe token.
    """
    token = chosen_token(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listening.bind((host, PORT if port is None else port))
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            listening.bind((host, 0))
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise DashboardError(
            f"the page cannot be served at {host}:{PORT if port is None else port}: "
            f"{error.strerror or error}; choose another with --host and --port"
        ) from error
    return Place(listening, token, address(host, listening.getsockname()[1], token))


def serve(place: Place, root: Path, only: str | None, until_closed: int | None = None) -> None:
    """Serve until a signal, or until the other end of the pipe `until_closed` is closed."""
    import uvicorn

    from cluster.dashboard.runs import Runs
    from cluster.dashboard.server import make_app

    app = make_app(Runs(root, only), place.token)
    settings = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GOODBYE_S,
        server_header=False,
    )
    server = uvicorn.Server(settings)

    def wait() -> None:
        if until_closed is not None:
            while os.read(until_closed, 1):
                pass
            server.should_exit = True

    threading.Thread(target=wait, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[place.listening])
