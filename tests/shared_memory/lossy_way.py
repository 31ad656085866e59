"""A way to a server that loses some replies, with their connection."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path


class LossyWay:
    """A socket that forwards to the server's and loses some replies.

    Only replies to scripts and to reads of queues get lost: those to a new connection's first
    commands would only cost time.
    """

    def __init__(self, folder: Path, server: str, loss: float, seed: int) -> None:
        self.url = f"unix://{folder / 'lossy.sock'}"
        self.lost = 0
        self.loss = loss
        self._server = server
        self._random = random.Random(seed)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "lossy.sock"))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._server)
            risky = threading.Event()
            self._start(self._forward, near, far, risky)
            self._start(self._answer, far, near, risky)

    def _forward(self, near: socket.socket, far: socket.socket, risky: threading.Event) -> None:
        try:
            while data := near.recv(65536):
                if b"EVALSHA" in data or b"XREADGROUP" in data:
                    risky.set()
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other direction has closed both

    def _answer(self, far: socket.socket, near: socket.socket, risky: threading.Event) -> None:
        with far, near:
            try:
                while data := far.recv(65536):
                    if risky.is_set() and self._random.random() < self.loss:
                        self.lost += 1
                        near.shutdown(socket.SHUT_RDWR)
                        return
                    risky.clear()
                    near.sendall(data)
            except OSError:
                return
