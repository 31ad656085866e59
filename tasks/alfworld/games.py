"""The index of ALFWorld's real games under `$ALFWORLD_DATA`.

Read from the usual layout, `json_2.1.1/SPLIT/TASK-FOLDER/trial_*/game.tw-pddl`, where a task
folder is named `TYPE-OBJECT-MOVABLE-RECEPTACLE-SCENE`. As in alfworld, games with movable
receptacles, with sliced objects, and those marked unsolvable are left out.

Every game's file is opened once, ever: what the index says is kept in one JSON file in a cache
folder, shared by all processes, and made anew when a game is added, removed or changed (told by
names, sizes and times of change). Whoever needs a game then reads only that game's file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from tasks.errors import TaskError

VARIABLE = "ALFWORLD_DATA"
LAYOUT = "json_2.1.1"
GAME_FILE = "game.tw-pddl"
SPLITS = ("train", "valid_seen", "valid_unseen")
TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""In alfworld's order, where they are numbered from 1."""

LARGEST_GAME = 8 * 2**20
LARGEST_INDEX = 256 * 2**20
_FORMAT = 1
_STATEMENT = re.compile(r"Your task is to: ([^\"\\]*)")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GameEntry:
    """One game.

    `path` is relative to the folder of the index and has "/" between its parts; `statement` is
    what the world says after "Your task is to: "; `steps` the length of the game's walkthrough (0
    where it has none); `digest` 32 hex digits of its PDDL problem and statement.
    """

    split: str
    task_type: str
    path: str
    statement: str
    steps: int
    digest: str


@dataclass(frozen=True, slots=True)
class GameIndex:
    """All playable games under a folder (`$ALFWORLD_DATA`), sorted by split, then path."""

    folder: Path
    games: tuple[GameEntry, ...]

    def select(self, split: str, task_types: Sequence[str] = TASK_TYPES) -> tuple[GameEntry, ...]:
        """The games of a split and of these types. Raises `TaskError` for unknown names."""
        if split not in SPLITS:
            raise TaskError(f"ALFWorld has no split '{split}': it has {', '.join(SPLITS)}.")
        for name in task_types:
            if name not in TASK_TYPES:
                raise TaskError(
                    f"ALFWorld has no task type '{name}': it has {', '.join(TASK_TYPES)}."
                )
        wanted = frozenset(task_types)
        return tuple(x for x in self.games if x.split == split and x.task_type in wanted)

    def file(self, game: GameEntry) -> Path:
        """Where the game's file is."""
        return self.folder / game.path

    def text(self, game: GameEntry) -> str:
        """The game's file. Raises `TaskError` if it cannot be read."""
        return _read_text(self.file(game))


def data_folder() -> Path:
    """The folder that `$ALFWORLD_DATA` names. Raises `TaskError` if there is none."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        raise TaskError(
            f"${VARIABLE} is not set: set it to the folder that holds ALFWorld's {LAYOUT}/ "
            "(`alfworld-download` of the package alfworld fetches it), or play generated games."
        )
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise TaskError(f"${VARIABLE} is '{value}', which is not a folder.")
    return folder.resolve()


def game_index() -> GameIndex:
    """The index of `$ALFWORLD_DATA`; the data are looked at once a process."""
    return _index_of(data_folder())


@lru_cache(maxsize=4)
def _index_of(folder: Path) -> GameIndex:
    return read_index(folder, default_cache_folder())


def default_cache_folder() -> Path:
    """Where indexes are kept: `nesypr` in `$XDG_CACHE_HOME` or in `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given else Path.home() / ".cache") / "nesypr"


def read_index(folder: Path, cache_folder: Path) -> GameIndex:
    """The index of the games under a folder, from the cache where that is up to date.

    Raises `TaskError` if there are no games or one of them is broken. A cache that is broken or
    cannot be written is no error: the index is made anew (and a warning logged).
    """
    base = folder / LAYOUT
    if not base.is_dir():
        raise TaskError(f"'{folder}' holds no {LAYOUT}/: is it the folder of ALFWorld's data?")
    files = _game_files(folder)
    if not files:
        raise TaskError(
            f"'{base}' holds no games: expected SPLIT/TASK-FOLDER/trial_*/{GAME_FILE} "
            f"with a split among {', '.join(SPLITS)}."
        )
    fingerprint = _fingerprint(files)
    name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
    cache = cache_folder / f"alfworld-games-{name}.json"
    games = _from_cache(cache, fingerprint)
    if games is None:
        made = (_entry(folder, path) for path, _ in files)
        games = tuple(entry for entry in made if entry is not None)
        if not games:
            raise TaskError(f"None of the {len(files)} games under '{base}' can be won.")
        _to_cache(cache, fingerprint, games)
    return GameIndex(folder, games)


def _game_files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Paths of the games relative to the folder, in order, with what the file system says."""
    files: list[tuple[str, os.stat_result]] = []
    for split in SPLITS:
        for task in _folders(folder, f"{LAYOUT}/{split}"):
            if "movable" in task or "Sliced" in task:
                continue
            for trial in _folders(folder, task):
                if trial.rpartition("/")[2].startswith("trial_"):
                    path = f"{trial}/{GAME_FILE}"
                    try:
                        files.append((path, os.stat(folder / path)))
                    except FileNotFoundError:
                        continue  # alfworld's data have trials without a game
    return files


def _folders(folder: Path, parent: str) -> list[str]:
    """The folders in `parent`, relative to `folder` as `parent` is; none if it is not there."""
    try:
        with os.scandir(folder / parent) as found:
            return sorted(f"{parent}/{x.name}" for x in found if x.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TaskError(f"'{folder / parent}' cannot be read ({error}).") from error


def _fingerprint(files: Sequence[tuple[str, os.stat_result]]) -> str:
    known = hashlib.blake2b(digest_size=16)
    for path, state in files:
        known.update(f"{path}\t{state.st_size}\t{state.st_mtime_ns}\n".encode())
    return known.hexdigest()


def _read_text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST_GAME:
            raise TaskError(f"'{file}' is larger than {LARGEST_GAME} bytes: no game is.")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"The game '{file}' cannot be read ({error}).") from error


def _entry(folder: Path, path: str) -> GameEntry | None:
    """What the index says of the game; None if it is marked unsolvable or of no known type."""
    file = folder / path
    _, split, task, _, _ = path.split("/")
    task_type = task.split("-", 1)[0]
    if task_type not in TASK_TYPES:
        return None
    broken = f"The game '{file}' is broken: fetch ALFWorld's data again, or remove the game"
    try:
        game = json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{broken} (it is not JSON: {error}).") from error
    if not isinstance(game, dict):
        raise TaskError(f"{broken} (it is not a JSON object).")
    problem, grammar = game.get("pddl_problem"), game.get("grammar")
    if not isinstance(problem, str) or not isinstance(grammar, str):
        raise TaskError(f"{broken} (it has no 'pddl_problem' or no 'grammar').")
    statement = _STATEMENT.search(grammar)
    if statement is None:
        raise TaskError(f"{broken} (its grammar does not say what the task is).")
    if not game.get("solvable", True):
        return None
    walkthrough = game.get("walkthrough") or []
    digest = hashlib.blake2b(f"{problem}\n{statement[1]}".encode(), digest_size=16).hexdigest()
    return GameEntry(
        split=split,
        task_type=task_type,
        path=path,
        statement=statement[1],
        steps=len(walkthrough) if isinstance(walkthrough, list) else 0,
        digest=digest,
    )


def _from_cache(cache: Path, fingerprint: str) -> tuple[GameEntry, ...] | None:
    """The games that the cache holds; None if it is missing, stale or broken."""
    try:
        if cache.stat().st_size > LARGEST_INDEX:
            return None
        data = json.loads(cache.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        _LOG.warning("The index of ALFWorld's games '%s' is made anew (%s).", cache, error)
        return None
    if (
        not isinstance(data, dict)
        or data.get("format") != _FORMAT
        or data.get("fingerprint") != fingerprint
        or not isinstance(data.get("games"), list)
    ):
        return None
    games: list[GameEntry] = []
    for row in data["games"]:
        entry = _checked(row)
        if entry is None:
            _LOG.warning("The index of ALFWorld's games '%s' is broken; made anew.", cache)
            return None
        games.append(entry)
    return tuple(games) or None


def _checked(row: object) -> GameEntry | None:
    names = [field.name for field in fields(GameEntry)]
    if not isinstance(row, dict) or sorted(row) != sorted(names):
        return None
    steps = row["steps"]
    texts = [row[name] for name in names if name != "steps"]
    if not isinstance(steps, int) or not all(isinstance(text, str) for text in texts):
        return None
    path = str(row["path"])
    if (
        row["split"] not in SPLITS
        or row["task_type"] not in TASK_TYPES
        or path.startswith("/")
        or ".." in path.split("/")
    ):
        return None
    return GameEntry(row["split"], row["task_type"], path, row["statement"], steps, row["digest"])


def _to_cache(cache: Path, fingerprint: str, games: Sequence[GameEntry]) -> None:
    data = {"format": _FORMAT, "fingerprint": fingerprint, "games": [asdict(x) for x in games]}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=cache.parent, prefix=cache.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file)
            os.replace(name, cache)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        _LOG.warning(
            "The index of ALFWorld's games cannot be kept in '%s' (%s): every process "
            "makes it anew.",
            cache,
            error,
        )
