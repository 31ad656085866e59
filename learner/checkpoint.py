"""Checkpoints of the learner: a folder of files with a manifest of their SHA-256 digests.

A checkpoint is written beside the old ones in a temporary folder, every file and the folder are
flushed to disk, and then it is renamed, so that one either exists whole or not at all. The last
two are kept. A corrupted one is refused by name and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from learner.errors import LearnerError

MANIFEST = "manifest.json"
_SCHEMA = 1
_KEPT = 2
_NAME = re.compile(r"^checkpoint-(\d{9})$")
_TEMPORARY = "writing-"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as read back: its running number, place and files."""

    number: int
    path: Path
    files: Mapping[str, bytes]


class CheckpointFolder:
    """The checkpoints of one learner. Only one process may write to it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: Mapping[str, bytes]) -> Path:
        """Write a checkpoint under the next number and drop all but the last two.

        Raises LearnerError where the disk is full or the folder cannot be written.
        """
        number = self._last_number() + 1
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear_unfinished()
            temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.folder))
            for name, content in files.items():
                _write_synced(temporary / name, content)
            manifest = {
                "schema": _SCHEMA,
                "number": number,
                "files": {
                    name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                    for name, content in files.items()
                },
            }
            _write_synced(temporary / MANIFEST, json.dumps(manifest, indent=1).encode())
            _sync_folder(temporary)
            final = self.folder / f"checkpoint-{number:09d}"
            temporary.rename(final)
            _sync_folder(self.folder)
            for old in self.paths()[:-_KEPT]:
                shutil.rmtree(old)
        except OSError as error:
            raise LearnerError(
                f"the learner's checkpoint cannot be written to {self.folder}: "
                f"{error.strerror or error}; free space there or use another folder"
            ) from error
        return final

    def paths(self) -> list[Path]:
        """The checkpoints' folders, oldest first (not read, perhaps corrupted)."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.match(path.name))

    def latest(self, refused: Callable[[str], None]) -> StoredCheckpoint | None:
        """The last good checkpoint, or None where there is none at all.

        `refused` is told a sentence for each corrupted one that was passed over. Raises
        LearnerError where checkpoints exist and every one is corrupted.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except LearnerError as error:
                refused(str(error))
        if paths:
            raise LearnerError(
                f"all {len(paths)} checkpoints in {self.folder} are corrupted: remove the folder "
                "to begin anew"
            )
        return None

    def _last_number(self) -> int:
        paths = self.paths()
        return int(paths[-1].name.rpartition("-")[2]) if paths else -1

    def _clear_unfinished(self) -> None:
        """Remove what a learner that was killed while writing left behind."""
        for path in self.folder.iterdir():
            if path.name.startswith(_TEMPORARY):
                shutil.rmtree(path)


def read_checkpoint(path: Path) -> StoredCheckpoint:
    """Read and check one checkpoint; raises LearnerError with its name if it is corrupted."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        if manifest["schema"] != _SCHEMA:
            raise LearnerError(
                f"checkpoint {path} has schema {manifest['schema']!r}, but this program reads "
                f"schema {_SCHEMA}"
            )
        files: dict[str, bytes] = {}
        for name, entry in manifest["files"].items():
            if Path(name).name != name:
                raise LearnerError(f"checkpoint {path} names a file outside itself: {name!r}")
            content = (path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise LearnerError(
                    f"checkpoint {path} is corrupted: {name} has not the digest that it was "
                    "written with"
                )
            files[name] = content
        return StoredCheckpoint(int(manifest["number"]), path, files)
    except OSError as error:
        raise LearnerError(f"checkpoint {path} is corrupted: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LearnerError(f"checkpoint {path} is corrupted: bad {MANIFEST} ({error!r})") from error


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
