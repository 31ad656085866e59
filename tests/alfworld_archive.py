"""Real ALFWorld games: those of `$ALFWORLD_DATA`, else of the archive beside the repository.

Both may be missing; then tests that need real games are skipped.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tasks.alfworld.games import GAME_FILE, VARIABLE, default_cache_folder, read_index

DATA = os.environ.get(VARIABLE, "")
"""As it was when the tests began: the package alfworld sets it where it is imported."""

ARCHIVE = Path(__file__).parents[2] / "shared" / "alfworld" / "json_2.1.1-train-valid_seen.tar.xz"


def real_games(split: str, most: int | None = None, stride: int = 1) -> Iterator[tuple[str, str]]:
    """(path below the data's folder, text) of every stride-th game of a split; skips without."""
    games = _of_folder(split, stride) if DATA else _of_archive(split, stride)
    return islice(games, most)


def _of_folder(split: str, stride: int) -> Iterator[tuple[str, str]]:
    index = read_index(Path(DATA).expanduser().resolve(), default_cache_folder())
    games = index.select(split)
    if not games:
        pytest.skip(f"${VARIABLE} ({index.folder}) has no games of {split}")
    for game in games[::stride]:
        yield game.path, index.text(game)


def _of_archive(split: str, stride: int) -> Iterator[tuple[str, str]]:
    if not ARCHIVE.is_file():
        pytest.skip(f"no real ALFWorld games: set ${VARIABLE} (the archive {ARCHIVE} is missing)")
    found = 0
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        for member in archive:
            if member.name.endswith(GAME_FILE) and f"/{split}/" in f"/{member.name}":
                if found % stride == 0:
                    file = archive.extractfile(member)
                    assert file is not None
                    yield member.name, file.read().decode()
                found += 1


def unpack(split: str, most: int, folder: Path, stride: int = 1) -> list[Path]:
    """Write games of a split below the folder, in ALFWorld's layout; returns their files."""
    files: list[Path] = []
    for name, text in real_games(split, most, stride):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files
