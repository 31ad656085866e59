"""The folder of a run: who holds it, where everything in it lies, and atomic writing.

A folder is held through `flock` on its `lock` file, so that a killed run leaves no stale lock. On
a disk that hosts share, the file server lets go of a dead host's lock, after a while of its own.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from configs.errors import NesyprError
from configs.schema import RunConfig

RunState = Literal["running", "finished", "stopped", "failed", "unfinished"]


class RunFolderError(NesyprError):
    """A run's folder is absent, taken, or cannot be written."""


class RunFolder:
    """Paths of a run's folder; a context manager that lets go of the lock.

    Get one with `RunFolder.create` (a new run), `RunFolder.hold` (go on with a run) or
    `RunFolder.look` (only read).
    """

    def __init__(self, path: Path, lock: int | None = None, last_host: str | None = None) -> None:
        self.path = path.absolute()
        self._lock = lock
        self.last_host = last_host
        """Who held it before: the host's name; None if nobody did, or it is not held now."""

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """The events, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def episodes_file(self) -> Path:
        """Some episodes word for word, one JSON object a line."""
        return self.path / "episodes.jsonl"

    @property
    def summary_file(self) -> Path:
        """The figures of the finished run."""
        return self.path / "summary.json"

    @property
    def report_file(self) -> Path:
        """The self-contained report."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """Where the learner and the driver keep checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def shared_memory(self) -> Path:
        """The embedded server's data (append-only file)."""
        return self.path / "shared_memory"

    @property
    def server_address(self) -> Path:
        """The embedded server's address, of the run's last start."""
        return self.shared_memory / "address"

    @classmethod
    def create(cls, root: Path, name: str, numbered: bool) -> RunFolder:
        """Make and hold a new folder `root/name`.

        With `numbered`, a name that is taken gets the next free number (`quickstart-2`);
        without, a taken name is an error that says how to proceed.
        """
        make_folder(root)
        candidate, number = root / name, 1
        while True:
            try:
                candidate.mkdir()
                break
            except FileExistsError:
                if not numbered:
                    raise RunFolderError(_how_to_proceed(cls(candidate))) from None
                number += 1
                candidate = root / f"{name}-{number}"
            except OSError as error:
                raise cannot_write(candidate, error) from error
        folder = cls(candidate, _lock(candidate))
        make_folder(folder.checkpoints)
        return folder

    @classmethod
    def look(cls, path: Path) -> RunFolder:
        """An existing run's folder, not held. Raises RunFolderError where there is none."""
        if not (path / "config.yaml").is_file():
            runs = sorted(p.parent.name for p in path.parent.glob("*/config.yaml"))
            known = f"; runs there: {', '.join(runs[-8:])}" if runs else ""
            raise RunFolderError(f"there is no run in {path}{known}")
        return cls(path)

    @classmethod
    def hold(cls, path: Path) -> RunFolder:
        """An existing run's folder, held. Raises RunFolderError if another process holds it."""
        folder = cls.look(path)
        last = _last_holder(folder.path).get("host")
        return cls(folder.path, _lock(folder.path), last if isinstance(last, str) else None)

    @property
    def held(self) -> bool:
        """Whether this object holds the folder's lock."""
        return self._lock is not None

    def state(self) -> RunState:
        """What became of the run, seen from outside."""
        return "running" if _holder(self.path) is not None else self.ended()

    def ended(self) -> RunState:
        """How the run's last start ended, whether or not another goes on now."""
        try:
            outcome = json.loads(self.summary_file.read_text(encoding="utf-8")).get("outcome")
        except FileNotFoundError:
            return "unfinished"
        except (OSError, ValueError, AttributeError) as error:
            raise RunFolderError(f"{self.summary_file} cannot be read: {error}") from error
        return outcome if outcome in ("finished", "stopped", "failed") else "unfinished"

    def moved_words(self, config: RunConfig) -> str | None:
        """What a person should know where another host held the folder before; None: nothing."""
        if self.last_host in (None, socket.gethostname()) or config.shared_memory.url is not None:
            return None
        return (
            f"{self.name} was on {self.last_host} before: its embedded server has come along only "
            "as far as its files in the run's folder have, and serves actors on this host alone; "
            "a run that is to outlive its host needs a server of its own (shared_memory.url)"
        )

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self.write(self.config_file, text)

    def write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all. Raises RunFolderError, also where the disk is full."""
        temporary = path.with_name(path.name + ".partial")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(path, error) from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def make_folder(path: Path) -> None:
    """Make a folder and its parents. Raises RunFolderError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path | str, error: OSError) -> RunFolderError:
    """The sentence for a file or folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFolderError(
            f"the disk is full while writing {path}: free some space, then resume the run"
        )
    if error.errno == errno.EFBIG:
        return RunFolderError(f"{path} would pass the limit on file sizes (see ulimit -f)")
    return RunFolderError(f"{path} cannot be written: {error.strerror or error}")


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn an OSError inside the block into the sentence of `cannot_write`."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def _lock(folder: Path) -> int:
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunFolderError(_how_to_proceed(RunFolder(folder))) from None
    except OSError as error:
        os.close(descriptor)
        raise RunFolderError(f"{path} cannot be locked: {error.strerror}") from error
    with writing(path):
        os.ftruncate(descriptor, 0)
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        os.write(descriptor, json.dumps(holder).encode())
    return descriptor


def _holder(folder: Path) -> str | None:
    """Who holds the folder, in words; None if nobody does."""
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _last_holder(folder)
        if holder.keys() >= {"process", "host"}:
            return f"process {holder['process']} on {holder['host']}"
        return "another process"
    else:
        return None
    finally:
        os.close(descriptor)


def _last_holder(folder: Path) -> dict[str, Any]:
    """What the last holder wrote of itself; nothing where that cannot be read."""
    try:
        found = json.loads((folder / "lock").read_bytes()[:4096])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _how_to_proceed(folder: RunFolder) -> str:
    holder = _holder(folder.path)
    if holder is not None:
        host = _last_holder(folder.path).get("host", socket.gethostname())
        elsewhere = (
            f" (where {host} is dead, the disk's server lets go of its lock after a while, NFS 4 "
            f"after 90 s; where it never does and {host} is surely off, remove "
            f"{folder.path / 'lock'})"
        )
        return (
            f"{folder.path} is in use by {holder}: wait for it, stop it, "
            "or choose another name with --set name=NAME"
            + ("" if host == socket.gethostname() else elsewhere)
        )
    if not folder.config_file.is_file():
        return (
            f"{folder.path} exists already and is not a run: "
            "choose another name with --set name=NAME"
        )
    return (
        f"{folder.path} holds a run already ({folder.state()}): go on from it with "
        f"`nesypr resume {folder.name}`, or choose another name with --set name=NAME"
    )
