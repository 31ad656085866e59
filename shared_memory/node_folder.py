"""Where a node's memory holds the replica of a run's banks, for all its processes (ours).

Its name follows from the server, the run, the user and what is kept, so that whoever follows the
same banks meets there; only the user may enter. Every process in it holds a shared lock on `users`,
which the kernel frees however the process ends: who can lock it alone is the last, or finds what
was left by dead ones, and removes everything. The lock on `feeder` says who may write.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared_memory.errors import SharedMemoryError

LAYOUT = 2
"""Raised with every change of what the files mean."""
_PREFIX = "nesypr-replica"
_LEAST_BYTES = 2**28
"""A smaller /dev/shm (containers often have 64 MB) is passed over for the temp folder."""
_USERS, _FEEDER = "users", "feeder"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_PAUSE_S = 0.002
_YOUNG_S = 60.0


def memory_folder() -> Path:
    """Where files are in memory: /dev/shm, or the temp folder where that is missing or small."""
    shared = Path("/dev/shm")
    try:
        figures = os.statvfs(shared)
    except OSError:
        return Path(tempfile.gettempdir())
    fit = figures.f_blocks * figures.f_frsize >= _LEAST_BYTES and os.access(shared, os.W_OK)
    return shared if fit else Path(tempfile.gettempdir())


class NodeFolder:
    """This process's stay in the folder of one run's banks; `leave` ends it.

    `kept` tells what the replicas hold, beside the server and the run that it is from. Raises
    SharedMemoryError where the folder is another's, and OSError where there can be none.
    """

    def __init__(
        self,
        server: str,
        run: str,
        kept: str,
        *,
        base: Path | None = None,
        deadline_s: float = 30.0,
    ) -> None:
        self._base = memory_folder() if base is None else base
        name = hashlib.blake2b(f"{LAYOUT}\0{server}\0{run}\0{kept}".encode(), digest_size=12)
        self.path = self._base / f"{_PREFIX}-{os.getuid()}-{name.hexdigest()}"
        self._process = os.getpid()
        self._users = self._enter(time.monotonic() + deadline_s)
        self._feeder = os.open(self.path / _FEEDER, _FLAGS | os.O_CREAT, 0o600)
        self._remove_deserted()

    def leave(self) -> None:
        """Go; the last one removes the folder. A second call, or a child's, does nothing."""
        if self._users < 0 or os.getpid() != self._process:
            return
        os.close(self._feeder)
        if _locked(self._users, fcntl.LOCK_EX):
            _remove(self.path)
        os.close(self._users)
        self._users = -1

    @property
    def left(self) -> bool:
        """Whether `leave` was called."""
        return self._users < 0

    @contextmanager
    def feeding(self, done: Callable[[], bool], deadline_s: float) -> Iterator[bool]:
        """Alone in the right to write; False where, while waiting for it, all was `done`.

        Raises SharedMemoryError past the deadline.
        """
        deadline = time.monotonic() + deadline_s
        while not _locked(self._feeder, fcntl.LOCK_EX):
            if done():
                yield False
                return
            if time.monotonic() > deadline:
                holder = os.pread(self._feeder, 20, 0).decode(errors="replace").strip()
                raise SharedMemoryError(
                    f"process {holder or 'unknown'} has been feeding the replica in {self.path} "
                    f"for {deadline_s:g} s: end it, or set shared_memory.replica to process"
                )
            time.sleep(_PAUSE_S)
        try:
            os.pwrite(self._feeder, f"{os.getpid():<20d}".encode(), 0)
            yield True
        finally:
            fcntl.flock(self._feeder, fcntl.LOCK_UN)

    def _enter(self, deadline: float) -> int:
        """The descriptor of `users`, locked with the others there."""
        users = self.path / _USERS
        while True:
            self.path.mkdir(mode=0o700, exist_ok=True)
            try:
                _require_own(self.path)
                descriptor = os.open(users, _FLAGS | os.O_CREAT, 0o600)
            except FileNotFoundError:  # the folder has just been removed
                descriptor = -1
            if descriptor >= 0:
                if _locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, users):
                    _empty(self.path)  # nobody is there: what lies there is old
                if _locked(descriptor, fcntl.LOCK_SH) and _is_at(descriptor, users):
                    return descriptor
                os.close(descriptor)
            if time.monotonic() > deadline:
                raise SharedMemoryError(
                    f"{self.path} is being removed again and again: end what does that, or set "
                    "shared_memory.replica to process"
                )
            time.sleep(_PAUSE_S)

    def _remove_deserted(self) -> None:
        """Remove this user's folders in which nobody is any more."""
        for path in self._base.glob(f"{_PREFIX}-{os.getuid()}-*"):
            if path == self.path:
                continue
            try:
                _require_own(path)
                descriptor = os.open(path / _USERS, _FLAGS)
            except FileNotFoundError:
                _remove_where_old(path)
                continue
            except SharedMemoryError:
                continue  # not ours to judge
            if _locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path / _USERS):
                _remove(path)
            os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether this open file is still the one with this name."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)


def _require_own(path: Path) -> None:
    """Refuse what others could write or have put there."""
    found = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SharedMemoryError(
            f"{path} is not a folder of this user alone: remove it, or set "
            "shared_memory.replica to process"
        )


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name != _USERS:
            entry.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Everything in it, `users` last, then the folder (where nobody has just come)."""
    try:
        _empty(path)
        (path / _USERS).unlink(missing_ok=True)
        path.rmdir()
    except FileNotFoundError:
        return  # somebody has removed it by hand
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # else somebody has just come: it is theirs now
            raise


def _remove_where_old(path: Path) -> None:
    """A folder without `users`, unless it is being made just now."""
    try:
        old = time.time() - path.stat().st_mtime > _YOUNG_S
    except FileNotFoundError:
        return
    if old:
        shutil.rmtree(path, ignore_errors=True)
